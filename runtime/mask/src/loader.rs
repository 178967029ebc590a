//! What the Vulkan loader and a layer say to each other: the structures of `vulkan/vk_layer.h`,
//! chains of structures, and the keys by which a layer finds what belongs to a handle.
//!
//! # Safety
//!
//! As in the crate's documentation. Chains are those that an application or the loader passed.

use ash::vk::{self, Handle, TaggedStructure};
use std::{
    collections::BTreeMap,
    ffi::{c_int, c_void},
    sync::{Arc, PoisonError, RwLock},
};

/// `VkNegotiateLayerInterface`.
#[derive(Debug)]
#[repr(C)]
pub struct Negotiation {
    pub(crate) s_type: c_int,
    pub(crate) next: *mut c_void,
    pub(crate) version: u32,
    pub(crate) get_instance_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
    pub(crate) get_device_proc_addr: Option<vk::PFN_vkGetDeviceProcAddr>,
    pub(crate) get_physical_device_proc_addr: vk::PFN_vkVoidFunction,
}

/// `VkLayerInstanceCreateInfo` and `VkLayerDeviceCreateInfo`, when they carry a link.
#[repr(C)]
struct LinkInfo<L> {
    s_type: vk::StructureType,
    next: *const c_void,
    function: c_int,
    link: *mut L,
}

/// `VK_LAYER_LINK_INFO`: the structure carries a link.
const CARRIES_LINK: c_int = 0;

/// `VkLayerInstanceLink`: how the next layer is called.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct InstanceLink {
    next: *mut Self,
    pub(crate) get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    get_physical_device_proc_addr: vk::PFN_vkVoidFunction,
}

/// `VkLayerDeviceLink`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct DeviceLink {
    next: *mut Self,
    get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    pub(crate) get_device_proc_addr: vk::PFN_vkGetDeviceProcAddr,
}

/// A link, which leads to the one for the layer below.
pub(crate) trait Link: Copy {
    const S_TYPE: vk::StructureType;
    fn next(&self) -> *mut Self;
}

impl Link for InstanceLink {
    const S_TYPE: vk::StructureType = vk::StructureType::LOADER_INSTANCE_CREATE_INFO;
    fn next(&self) -> *mut Self {
        self.next
    }
}

impl Link for DeviceLink {
    const S_TYPE: vk::StructureType = vk::StructureType::LOADER_DEVICE_CREATE_INFO;
    fn next(&self) -> *mut Self {
        self.next
    }
}

/// Takes this layer's link out of a chain, so that the next layer finds its own.
///
/// # Safety
///
/// `chain` is the one of the structure that the loader passed to `vkCreateInstance` (for an
/// [`InstanceLink`]) or `vkCreateDevice` (for a [`DeviceLink`]).
pub(crate) unsafe fn take_link<L: Link>(chain: *const c_void) -> Option<L> {
    let mut at = chain.cast_mut().cast::<LinkInfo<L>>();
    loop {
        // SAFETY: 3. each structure begins with its type and the next one, or the chain ends; the
        // rest is read only of the loader's own, which has this form.
        let info = unsafe { at.as_mut() }?;
        if info.s_type == L::S_TYPE && info.function == CARRIES_LINK {
            // SAFETY: 3. the loader passes a link for each layer.
            let link = *unsafe { info.link.as_ref() }?;
            info.link = link.next();
            return Some(link);
        }
        at = info.next.cast_mut().cast();
    }
}

/// The structure of a type in a chain.
///
/// # Safety
///
/// `chain` is valid for as long as the result is used, and is written by nobody else.
pub(crate) unsafe fn find<'c, T: TaggedStructure>(chain: *const c_void) -> Option<&'c mut T> {
    let mut at = chain.cast_mut().cast::<vk::BaseOutStructure<'_>>();
    loop {
        // SAFETY: 3. each structure begins with its type and the next one, or the chain ends.
        let structure = unsafe { at.as_ref() }?;
        if structure.s_type == T::STRUCTURE_TYPE {
            // SAFETY: 3. the type says so; the caller's promise.
            return unsafe { at.cast::<T>().as_mut() };
        }
        at = structure.p_next;
    }
}

/// A copy of an array, which may be anywhere if it is empty.
///
/// # Safety
///
/// It has so many values.
pub(crate) unsafe fn array<T: Copy>(first: *const T, count: u32) -> Vec<T> {
    if count == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count as usize) }.to_vec()
}

/// What belongs to instances, or to devices. A handle that can be dispatched begins with a pointer
/// that it shares with all handles of its instance or device.
pub(crate) struct Owners<T>(RwLock<BTreeMap<usize, Arc<T>>>);

impl<T> Owners<T> {
    pub(crate) const fn new() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }

    /// # Safety
    ///
    /// For this and the functions below: the handle is live and can be dispatched.
    pub(crate) unsafe fn insert(&self, handle: impl Handle, owner: Arc<T>) {
        // SAFETY: the caller's promise.
        let key = unsafe { key(handle) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, owner);
    }

    pub(crate) unsafe fn get(&self, handle: impl Handle) -> Option<Arc<T>> {
        // SAFETY: the caller's promise.
        let key = unsafe { key(handle) };
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    pub(crate) unsafe fn remove(&self, handle: impl Handle) -> Option<Arc<T>> {
        // SAFETY: the caller's promise.
        let key = unsafe { key(handle) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }

    /// All of them; nothing if another thread is changing the map.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.0.try_read().map_or_else(|_| Vec::new(), |all| all.values().cloned().collect())
    }
}

/// The pointer with which a handle begins.
///
/// # Safety
///
/// The handle is live and can be dispatched.
pub(crate) unsafe fn key(handle: impl Handle) -> usize {
    let at = usize::try_from(handle.as_raw()).expect("such a handle is a pointer");
    // SAFETY: the caller's promise; the loader puts its pointer there (loader and layer interface,
    // "Distributed Dispatching").
    unsafe { std::ptr::with_exposed_provenance::<usize>(at).read() }
}
