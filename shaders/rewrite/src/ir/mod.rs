//! A module under edit: instructions, types and their layouts, code under construction.

pub(crate) mod address;
pub(crate) mod code;
pub(crate) mod edit;
pub(crate) mod flow;
pub(crate) mod hoist;
pub(crate) mod instruction;
pub(crate) mod layouts;
pub(crate) mod memory;
pub(crate) mod narrow;
pub(crate) mod order;
