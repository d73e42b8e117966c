import { getImage, layerChain, type StoreParts } from "./store-parts.ts";

/** An item of an image's data, whichever store has the image. */
export async function readImageData(parts: StoreParts, imageId: string, key: string): Promise<Uint8Array> {
  const stores = [parts, ...parts.additional];
  const { images } = stores.find(store => store.images.get(imageId)) ?? parts;
  return await images.readData(imageId, key);
}

/** Bytes of an image: its layers unpacked, and its data. */
export function imageSize(parts: StoreParts, imageId: string): number {
  const image = getImage(parts, imageId);
  const layers = image.layerId === undefined ? [] : layerChain(parts, image.layerId);
  return layers.reduce((sum, layer) => sum + Math.max(0, layer.diffSize ?? 0), image.bigDataBytes);
}
