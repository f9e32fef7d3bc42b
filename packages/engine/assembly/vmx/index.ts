/** VT-x around the processor: one file an idea, this one names them all. */
export * from "./apic";
export * from "./apic-page";
export * from "./controls";
export * from "./ept";
export * from "./entry";
export * from "./events";
export * from "./exit-work";
export * from "./exits";
export * from "./fields";
export * from "./intercepts";
export * from "./msr-area";
export * from "./vmfunc";
