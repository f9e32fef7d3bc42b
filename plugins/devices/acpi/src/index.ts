/** ACPI: tables, AML, power management registers. */
export * from './aml.js';
export { PCI_MEMORY } from './dsdt.js';
export * from './plugin.js';
export * from './pm-registers.js';
export * from './table-loader.js';
export * from './table-set.js';
export * from './tables.js';
