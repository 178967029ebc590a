//! The pages that one scope has on the device.

mod arguments;
mod home;
mod kept;
mod launches;
mod placing;
#[allow(clippy::module_inception, reason = "the type `View` has a file alone")]
mod view;

pub(crate) use view::View;
