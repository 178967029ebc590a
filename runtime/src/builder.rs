//! Builds a runtime: finds a device and proves what it can do.

use crate::{
    AccessMode, BuildError, Error, Explanation, Runtime, Tier,
    cache_file::CacheFile,
    error::chain,
    explain::{self, Judged},
    pipelines::Pipelines,
    select::{DeviceInfo, Refusal, Wanted, judge, preference},
    vk::{
        Device, Instance, Physical,
        proof::{self, Disproof},
    },
};
use farptr_shaders::probe;
use std::{path::PathBuf, sync::Arc};

/// Names a device by index or by a part of its name.
const DEVICE_VARIABLE: &str = "FARPTR_DEVICE";
/// Switches validation on when it is set to 1.
const VALIDATION_VARIABLE: &str = "FARPTR_VALIDATION";

/// Options for a [`Runtime`].
///
/// # Examples
///
/// ```
/// let runtime = farptr::Runtime::builder().validation(true).build()?;
/// println!("{}", runtime.explain());
/// # Ok::<(), farptr::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "call `build` to get a runtime"]
pub struct RuntimeBuilder {
    device: Option<String>,
    access: AccessMode,
    validation: Option<bool>,
    cache: CachePlace,
}

#[derive(Clone, Debug, Default)]
enum CachePlace {
    #[default]
    Default,
    Folder(PathBuf),
    None,
}

impl RuntimeBuilder {
    /// Asks for a device by its index in Vulkan's list, or by a part of its name in any case.
    ///
    /// Without it the environment variable `FARPTR_DEVICE` decides, in the same form; without that
    /// every device is considered.
    pub fn device(mut self, name_or_index: impl Into<String>) -> Self {
        self.device = Some(name_or_index.into());
        self
    }

    /// Asks for an access mode; [`AccessMode::Auto`] unless set.
    pub fn access(mut self, access: AccessMode) -> Self {
        self.access = access;
        self
    }

    /// Runs the Khronos validation layer; its first error aborts the process with a message.
    ///
    /// Without it the environment variable `FARPTR_VALIDATION` decides: 1 is on.
    pub fn validation(mut self, on: bool) -> Self {
        self.validation = Some(on);
        self
    }

    /// Keeps the driver's compiled kernels in this folder, instead of `$XDG_CACHE_HOME/farptr` or
    /// `$HOME/.cache/farptr`.
    pub fn pipeline_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = CachePlace::Folder(folder.into());
        self
    }

    /// Keeps no compiled kernels on disk.
    pub fn no_pipeline_cache(mut self) -> Self {
        self.cache = CachePlace::None;
        self
    }

    /// Finds a device and proves what it can do.
    ///
    /// Devices are tried by kind (discrete, integrated, virtual, CPU, other), then in Vulkan's
    /// order. Each is checked for features; whether its addresses equal host addresses is proved by
    /// comparing them and by running a kernel that follows a chain of host pointers.
    ///
    /// # Errors
    ///
    /// [`Error::Build`] with:
    ///
    /// * [`BuildError::NoLoader`], [`BuildError::OldLoader`] or [`BuildError::NoDevice`] when
    ///   Vulkan is not installed or has no driver.
    /// * [`BuildError::NoValidationLayer`] when validation is on and its layer is not installed.
    /// * [`BuildError::NoSuchDevice`] when no device has the name or index.
    /// * [`BuildError::NoSuitableDevice`] when every device was refused, with each reason.
    /// * [`BuildError::AccessUnavailable`] for [`AccessMode::Mirrored`].
    /// * [`BuildError::Vulkan`] when a call failed for another reason.
    pub fn build(self) -> Result<Runtime, Error> {
        if self.access == AccessMode::Mirrored {
            return Err(BuildError::AccessUnavailable { mode: self.access }.into());
        }
        let validation = self.validation.unwrap_or_else(|| variable(VALIDATION_VARIABLE) == "1");
        let wanted =
            Wanted::parse(&self.device.clone().unwrap_or_else(|| variable(DEVICE_VARIABLE)));
        let instance = Arc::new(Instance::new(validation)?);
        let listed = Physical::list(&instance).map_err(BuildError::from)?;
        let (opened, judged) = self.take_first(&instance, &listed, &wanted);
        let Some((device, pipelines)) = opened else {
            return Err(refusal(&wanted, &judged).into());
        };
        let explanation = Explanation {
            devices: judged,
            access: AccessMode::Direct,
            tier: Tier::None,
            proof: format!(
                "device addresses equal host addresses, and a kernel followed {} host pointers",
                proof::LINKS
            ),
            validation,
            cache: String::new(),
        };
        Ok(Runtime::new(device, pipelines, explanation))
    }

    /// Tries devices in the order of preference and keeps a verdict on each, in Vulkan's order.
    fn take_first(
        &self,
        instance: &Arc<Instance>,
        listed: &[Physical],
        wanted: &Wanted,
    ) -> (Option<(Arc<Device>, Pipelines)>, Vec<Judged>) {
        let infos: Vec<DeviceInfo> = listed.iter().map(|physical| physical.info.clone()).collect();
        let mut taken = None;
        let mut judged = Vec::new();
        for info in preference(&infos) {
            let refusal = match judge(info, wanted, self.access) {
                Some(refusal) => Some(refusal),
                None if taken.is_some() => Some(Refusal::RankedLower),
                None => match self.open_and_prove(instance, &listed[info.index]) {
                    Ok(opened) => {
                        taken = Some(opened);
                        None
                    }
                    Err(why) => Some(Refusal::Failed(why)),
                },
            };
            judged.push(Judged { info: info.clone(), refusal });
        }
        judged.sort_by_key(|judged| judged.info.index);
        (taken, judged)
    }

    fn open_and_prove(
        &self,
        instance: &Arc<Instance>,
        physical: &Physical,
    ) -> Result<(Arc<Device>, Pipelines), String> {
        let device = Device::open(instance, physical)
            .map_err(|error| format!("cannot be opened: {}", chain(&error)))?;
        let device = Arc::new(device);
        let pipelines = self.pipelines(&device)?;
        let probe =
            pipelines.get_or_compile::<probe::Kernel>(&device).map_err(|error| chain(&error))?;
        match proof::prove(&device, &probe) {
            Ok(()) => Ok((device, pipelines)),
            Err(Disproof::NoMemory(error)) => Err(format!("no pages for the proof: {error}")),
            Err(Disproof::Failed(error)) => Err(format!("no direct access: {}", chain(&error))),
            Err(Disproof::WrongChain { saw }) => Err(format!(
                "no direct access: a kernel saw {saw} of {} links of a chain of host pointers",
                proof::LINKS
            )),
        }
    }

    fn pipelines(&self, device: &Arc<Device>) -> Result<Pipelines, String> {
        let folder = match &self.cache {
            CachePlace::Default => CacheFile::default_folder(),
            CachePlace::Folder(folder) => Some(folder.clone()),
            CachePlace::None => None,
        };
        let file = folder.map(|folder| CacheFile::new(&folder, &device.info.cache_key));
        Pipelines::open(device, file).map_err(|error| chain(&error))
    }
}

/// Why no device was taken.
fn refusal(wanted: &Wanted, judged: &[Judged]) -> BuildError {
    if judged.is_empty() {
        return BuildError::NoDevice;
    }
    if judged.iter().all(|judged| judged.refusal == Some(Refusal::NotAskedFor)) {
        let name = |judged: &Judged| format!("{} ({})", judged.info.index, judged.info.name);
        let devices = judged.iter().map(name).collect::<Vec<_>>().join(", ");
        return BuildError::NoSuchDevice { wanted: wanted.to_string(), devices };
    }
    BuildError::NoSuitableDevice { reasons: explain::reasons(judged) }
}

/// An environment variable, empty when it is not set or not text.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
