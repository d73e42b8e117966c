import type { Overview } from "@ocid/cri-server";
import type { ImageDiskUsage } from "@ocid/storage";
import type { PullUnderWay } from "../pull-hub.ts";
import type { StoreSection } from "./sections.ts";

/** The daemon's parts that the page is made of, asked while somebody looks. */
export interface PageSources {
  readonly overview: Overview;
  images(): Promise<readonly ImageDiskUsage[]>;
  store(): Promise<StoreSection>;
  pulls(): readonly PullUnderWay[];
}
