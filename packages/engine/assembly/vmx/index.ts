/** VT-x around the processor: one file an idea, this one names them all. */
export * from "./controls";
export * from "./ept";
export * from "./exits";
export * from "./fields";
export * from "./intercepts";
