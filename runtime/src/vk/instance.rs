//! The Vulkan instances of the process.
//!
//! An instance from which a device was opened stays until the process ends, so its drivers stay
//! loaded. Drivers have code that runs when a thread ends (Venus of Mesa 25, for one): a thread
//! that dropped the last runtime would jump into a library that is no longer there.

use super::{claim::Claim, named::Named, validation};
use crate::BuildError;
use ash::{ext, vk};
use farptr_hmm::ForkMark;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The instances that stay: the one without validation, and the one with it.
static KEPT: Mutex<[Option<Arc<Instance>>; 2]> = Mutex::new([None, None]);

/// A Vulkan instance, with a messenger when validation is on.
pub(crate) struct Instance {
    loaded: Arc<Loaded>,
    _messenger: Option<Messenger>,
    validates: bool,
}

/// The instance itself, which goes after everything that was made from it.
struct Loaded {
    // Invariant: `raw` was made from `entry` and is destroyed by Drop only; `entry` keeps the
    // library loaded until then.
    raw: ash::Instance,
    /// There until Drop.
    entry: Option<ash::Entry>,
    /// Absent where the kernel cannot make one; then a child is not recognised.
    fork_mark: Option<ForkMark>,
    _claim: Claim,
}

impl Instance {
    /// The instance of this process, or a new one if none has stayed.
    pub(crate) fn of_process(validate: bool) -> Result<Arc<Self>, BuildError> {
        // A child made by `fork` gets no claim, so it never waits for the lock below, which another
        // thread of the parent may have held.
        let claim = Claim::new().ok_or(BuildError::Forked)?;
        let kept = kept()[usize::from(validate)].clone();
        kept.map_or_else(|| Self::new(claim, validate).map(Arc::new), Ok)
    }

    /// Whether the validation layer watches the calls.
    pub(crate) fn validates(&self) -> bool {
        self.validates
    }

    /// Has the instance stay until the process ends; called once a device was opened. Two threads
    /// that build the first runtimes at once have two instances, of which one stays. Both keep the
    /// drivers loaded.
    pub(crate) fn keep(self: &Arc<Self>) {
        kept()[usize::from(self.validates)].get_or_insert_with(|| Arc::clone(self));
    }

    /// Loads Vulkan and makes an instance of version 1.2.
    fn new(claim: Claim, validate: bool) -> Result<Self, BuildError> {
        // SAFETY: 1. the library's initialisers run; the loader installed on the system is trusted
        // as every dynamically linked library is.
        let entry =
            unsafe { ash::Entry::load() }.map_err(|error| BuildError::NoLoader(error.into()))?;
        check_loader_version(&entry)?;
        if validate && !has_validation_layer(&entry)? {
            return Err(BuildError::NoValidationLayer);
        }
        let raw = create(&entry, validate)?;
        let debug = validate.then(|| ext::debug_utils::Instance::new(&entry, &raw));
        let (entry, fork_mark) = (Some(entry), ForkMark::new().ok());
        let loaded = Arc::new(Loaded { raw, entry, fork_mark, _claim: claim });
        let messenger = debug.map(|debug| Messenger::new(&loaded, debug)).transpose()?;
        Ok(Self { loaded, _messenger: messenger, validates: validate })
    }

    /// Whether this process was forked from the one that made the instance. Nothing of Vulkan
    /// works then: the driver's threads did not come along.
    pub(crate) fn is_inherited(&self) -> bool {
        self.loaded.is_inherited()
    }

    pub(crate) fn raw(&self) -> &ash::Instance {
        &self.loaded.raw
    }
}

fn kept() -> MutexGuard<'static, [Option<Arc<Instance>>; 2]> {
    // Each entry is written at once, so a panic leaves nothing half done.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells of errors that the validation layer finds.
struct Messenger {
    // Invariant: made from `loaded`, destroyed by Drop only.
    raw: vk::DebugUtilsMessengerEXT,
    debug: ext::debug_utils::Instance,
    loaded: Arc<Loaded>,
}

impl Messenger {
    fn new(loaded: &Arc<Loaded>, debug: ext::debug_utils::Instance) -> Result<Self, BuildError> {
        let info = validation::messenger_info();
        // SAFETY: 1. the instance is live and was made with VK_EXT_debug_utils.
        let raw = unsafe { debug.create_debug_utils_messenger(&info, None) }
            .named("vkCreateDebugUtilsMessengerEXT")?;
        Ok(Self { raw, debug, loaded: Arc::clone(loaded) })
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        if self.loaded.is_inherited() {
            return;
        }
        // SAFETY: 1. the messenger is live and belongs to this instance.
        unsafe { self.debug.destroy_debug_utils_messenger(self.raw, None) };
    }
}

impl Loaded {
    fn is_inherited(&self) -> bool {
        self.fork_mark.as_ref().is_some_and(ForkMark::is_inherited)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.is_inherited() {
            // Everything is the parent's; unloading the library would run its destructors here.
            std::mem::forget(self.entry.take());
            return;
        }
        // SAFETY: 1. devices and the messenger hold an Arc of this, so none is left; 2. the field
        // is not used after Drop.
        unsafe { self.raw.destroy_instance(None) };
    }
}

fn check_loader_version(entry: &ash::Entry) -> Result<(), BuildError> {
    // SAFETY: 1. the entry's function pointers are live as long as it is.
    let version = unsafe { entry.try_enumerate_instance_version() }
        .named("vkEnumerateInstanceVersion")?
        .unwrap_or(vk::API_VERSION_1_0);
    if version >= vk::API_VERSION_1_2 {
        return Ok(());
    }
    let (major, minor) = (vk::api_version_major(version), vk::api_version_minor(version));
    Err(BuildError::OldLoader { found: format!("{major}.{minor}") })
}

fn has_validation_layer(entry: &ash::Entry) -> Result<bool, BuildError> {
    // SAFETY: 1. the entry's function pointers are live as long as it is.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }
        .named("vkEnumerateInstanceLayerProperties")?;
    Ok(layers.iter().any(|layer| layer.layer_name_as_c_str() == Ok(validation::LAYER)))
}

fn create(entry: &ash::Entry, validate: bool) -> Result<ash::Instance, BuildError> {
    let application =
        vk::ApplicationInfo::default().engine_name(c"farptr").api_version(vk::API_VERSION_1_2);
    let layers = [validation::LAYER.as_ptr()];
    let extensions = [ext::debug_utils::NAME.as_ptr()];
    let mut messenger = validation::messenger_info();
    let mut info = vk::InstanceCreateInfo::default().application_info(&application);
    if validate {
        info = info
            .enabled_layer_names(&layers)
            .enabled_extension_names(&extensions)
            .push_next(&mut messenger);
    }
    // SAFETY: 1. `info` and what it points to live to the end of this call; 2. the layer was found
    // above, and it provides VK_EXT_debug_utils.
    let raw = unsafe { entry.create_instance(&info, None) }.named("vkCreateInstance");
    match raw {
        // The loader's word for "no driver is installed" (VK_ERROR_INCOMPATIBLE_DRIVER).
        Err(error) if error.result == vk::Result::ERROR_INCOMPATIBLE_DRIVER => {
            Err(BuildError::NoDevice)
        }
        raw => Ok(raw?),
    }
}
