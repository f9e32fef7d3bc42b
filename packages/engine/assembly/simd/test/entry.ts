/** Test entry: the vector unit by itself. memory.ts and raise.ts beside this file stand in for the real ones. */
export { simdHasImmediate, simdLookup } from "../decode";
export { execSimd } from "../exec";
export { modeChanged } from "../../mode";
