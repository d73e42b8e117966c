import { OcidError } from "@ocid/base";

/*
The program that holds a shared pid namespace: it ignores SIGCHLD, so that the kernel reaps what is orphaned to it, and
sleeps for ever. A static ELF executable of some 200 bytes, so that no image is needed for it.
*/

const x86: readonly number[] = [
  0xb8,
  0x0d,
  0x00,
  0x00,
  0x00, // mov eax, 13             rt_sigaction(
  0xbf,
  0x11,
  0x00,
  0x00,
  0x00, // mov edi, 17               SIGCHLD,
  0x48,
  0x8d,
  0x35,
  0x17,
  0x00,
  0x00,
  0x00, // lea rsi, [action]  action,
  0x31,
  0xd2, // xor edx, edx                                 NULL,
  0x41,
  0xba,
  0x08,
  0x00,
  0x00,
  0x00, // mov r10d, 8          8)
  0x0f,
  0x05, // syscall
  0xb8,
  0x22,
  0x00,
  0x00,
  0x00, // again: mov eax, 34       pause()
  0x0f,
  0x05, // syscall
  0xeb,
  0xf7, // jmp again
  0x00,
  0x00,
  0x00,
  0x00, // up to the next multiple of eight: action
];

const arm: readonly number[] = [
  0xd2800220, // mov x0, #17               rt_sigaction(SIGCHLD,
  0x100001a1, // adr x1, action              action,
  0xd2800002, // mov x2, #0                  NULL,
  0xd2800103, // mov x3, #8                  8)
  0xd28010c8, // mov x8, #134
  0xd4000001, // svc #0
  0xd2800000, // again: mov x0, #0         ppoll(NULL, 0, NULL, NULL)
  0xd2800001, // mov x1, #0
  0xd2800002, // mov x2, #0
  0xd2800003, // mov x3, #0
  0xd2800928, // mov x8, #73
  0xd4000001, // svc #0
  0x17fffffa, // b again
  0x00000000, // up to the next multiple of eight: action
];

const machines: Readonly<Record<string, { readonly number: number; readonly code: () => Buffer }>> = {
  x64: { number: 62, code: () => Buffer.from(x86) },
  arm64: {
    number: 183,
    code: () => {
      const buffer = Buffer.alloc(arm.length * 4);
      for (const [at, word] of arm.entries()) buffer.writeUInt32LE(word >>> 0, at * 4);
      return buffer;
    },
  },
};

const base = 0x400000n;
const headerBytes = 64 + 56;

/** The executable for this machine (System V ABI, "Object Files"): header, one segment to load, code, struct sigaction. */
export function pauseProgram(architecture: string = process.arch): Buffer {
  const machine = machines[architecture];
  if (!machine)
    throw new OcidError(
      "UNIMPLEMENTED",
      `pods with a shared pid namespace are not supported on ${architecture} yet`,
    );
  const ignore = Buffer.alloc(32);
  ignore.writeBigUInt64LE(1n, 0); // SIG_IGN
  const code = Buffer.concat([machine.code(), ignore]);
  const header = Buffer.alloc(headerBytes);
  header.write("\x7fELF\x02\x01\x01", 0, "latin1");
  header.writeUInt16LE(2, 16); // executable
  header.writeUInt16LE(machine.number, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(base + BigInt(headerBytes), 24); // entry
  header.writeBigUInt64LE(64n, 32); // program header
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  header.writeUInt32LE(1, 64); // PT_LOAD
  header.writeUInt32LE(5, 68); // read and execute
  header.writeBigUInt64LE(base, 80);
  header.writeBigUInt64LE(base, 88);
  header.writeBigUInt64LE(BigInt(headerBytes + code.byteLength), 96);
  header.writeBigUInt64LE(BigInt(headerBytes + code.byteLength), 104);
  header.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([header, code]);
}
