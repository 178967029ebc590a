//! Validation messages: an error ends the process.

use ash::vk;
use std::{
    borrow::Cow,
    ffi::{CStr, c_void},
    io::Write,
};

/// The layer that checks every Vulkan call.
pub(crate) const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// The messenger listens to errors of validation, which are always mistakes of farptr's.
pub(crate) fn messenger_info() -> vk::DebugUtilsMessengerCreateInfoEXT<'static> {
    vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(vk::DebugUtilsMessageSeverityFlagsEXT::ERROR)
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
        .pfn_user_callback(Some(on_error))
}

/// Prints the message and aborts.
///
/// A wrong Vulkan call is a bug of farptr's that may have corrupted memory, so nothing else is
/// done; unwinding through the driver's frames would be undefined behaviour besides.
///
/// # Safety
///
/// Called by the validation layer only, which passes a valid message (Vulkan specification,
/// `PFN_vkDebugUtilsMessengerCallbackEXT`).
unsafe extern "system" fn on_error(
    _severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _kind: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    _user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: 1. the layer passes null or a pointer to a structure that lives for this call; null
    // is told apart by `as_ref`.
    let message = unsafe { data.as_ref() }.and_then(|data| {
        // SAFETY: 1. pMessage of a live structure is null or a zero-ended string that lives for
        // this call; 2. null gives None.
        unsafe { data.message_as_c_str() }
    });
    let text = message.map_or(Cow::Borrowed("no message"), CStr::to_string_lossy);
    let _ = writeln!(std::io::stderr(), "farptr: Vulkan validation error, aborting: {text}");
    std::process::abort()
}
