/** Firmware configuration device. */
export { FW_CFG_DATA_PORT, FW_CFG_DMA_PORT, FW_CFG_PORTS, FW_CFG_SELECTOR_PORT, FwCfg, FwCfgItem } from './fw-cfg.js';
export type { FwCfgState } from './fw-cfg.js';
export type { FirmwareKernel } from './linux-items.js';
export * from './plugin.js';
