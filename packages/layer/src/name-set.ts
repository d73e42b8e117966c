/** Slots are filled to three quarters at most, and doubled then. */
const fullest = 0.75;

/**
 * Names that have been seen, by 64 bits of each: some 16 bytes a name, where strings in a Set take hundreds. That two of
 * five million names share theirs happens once in a million archives.
 */
export class NameSet {
  #slots = new Uint32Array(2 * 1024);
  #count = 0;

  /** Takes a name in; false when it is there already. */
  add(name: string): boolean {
    let low = 0xdeadbeef;
    let high = 0x41c6ce57;
    for (let at = 0; at < name.length; at++) {
      const unit = name.charCodeAt(at);
      low = Math.imul(low ^ unit, 2654435761);
      high = Math.imul(high ^ unit, 1597334677);
    }
    // MurmurHash3's last step, over both halves: every bit of the name counts in every bit of the result.
    low = mixed(low ^ (high >>> 13)) >>> 0;
    high = mixed(high ^ (low >>> 15)) >>> 0;
    if (!this.#put(low || 1, high)) return false;
    if (++this.#count > (this.#slots.length / 2) * fullest) this.#grow();
    return true;
  }

  /** An empty slot has a low half of 0. */
  #put(low: number, high: number): boolean {
    const slots = this.#slots;
    const mask = slots.length / 2 - 1;
    for (let at = high & mask; ; at = (at + 1) & mask) {
      if (slots[2 * at] === 0) {
        slots[2 * at] = low;
        slots[2 * at + 1] = high;
        return true;
      }
      if (slots[2 * at] === low && slots[2 * at + 1] === high) return false;
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    for (let at = 0; at < old.length; at += 2) if (old[at] !== 0) this.#put(old[at]!, old[at + 1]!);
  }
}

function mixed(value: number): number {
  let bits = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
