//! Mirrored access with copies: which pages the device has, and the rounds that bring them there.
//!
//! `DESIGN.md` has the protocol. Nothing here calls Vulkan or touches lent memory; what does is
//! behind the trait [`rounds::Memory`].

pub(crate) mod table;
