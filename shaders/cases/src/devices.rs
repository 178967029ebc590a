//! What devices may lack, so that kernels are named as not run on them. Anything else that a device
//! lacks is a failure.

use rspirv::spirv::Capability;

/// Capabilities that a device may lack.
pub const MAY_LACK: [Capability; 10] = [
    Capability::Int64,
    Capability::Int64Atomics,
    Capability::Float64,
    Capability::Float16,
    Capability::Int16,
    Capability::Int8,
    Capability::StorageBuffer16BitAccess,
    Capability::StorageBuffer8BitAccess,
    Capability::GroupNonUniformArithmetic,
    Capability::GroupNonUniformShuffle,
];

/// Whether the driver's compiler works on kernels that load values of pointer type or keep them in
/// variables (`Case::pointer_values`). SwiftShader's crashes on them, rewritten or not.
#[must_use]
pub fn has_pointer_values(device: &str) -> bool {
    !device.contains("SwiftShader")
}
