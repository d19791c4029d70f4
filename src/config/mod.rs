//! What the operator wrote: `solvegate.yaml`, checked whole and resolved.
