//! The pages that one scope has on the device.

mod arguments;
mod home;
mod placing;
#[allow(clippy::module_inception, reason = "the type `View` has a file with its launches")]
mod view;

pub(crate) use view::View;
