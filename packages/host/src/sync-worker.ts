import { answerCalls } from "./calling-thread.ts";
import { syncFilesystemNow } from "./sync.ts";

answerCalls(syncFilesystemNow);
