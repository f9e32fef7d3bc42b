/** Hypercalls that guests of other hypervisors make. */
export * from './kvm.js';
