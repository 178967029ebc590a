//! Builds a runtime: finds a device and proves what it can do.
//!
//! # Safety
//!
//! The one unsafe function takes a promise about lent memory, which `scope::scope` relies on.

use crate::{
    AccessMode, Backing, BuildError, ChosenBacking, Error, Explanation, ProvedAccess,
    ResidencyTier, Reuse, Runtime,
    config::Config,
    error::chain,
    explain::{self, ImportRules, Judged, Loops, Timing},
    kernel::{
        cache_file::CacheFile, code::Code, kernels::Kernels, known::Keep, pipelines::Pipelines,
    },
    launch::launcher::Launcher,
    prove::{
        judge::{Refusal, Wanted, judge, preference},
        kernels::{CheckedIn, ENDLESS, OFFSETS, PROBE},
        litmus,
        proof::{self, Disproof},
        stopping::try_stopping,
    },
    residency::stores::Stores,
    shortage,
    test_hooks::{Hooks, ServeFaults, TestHooks},
    trace,
    vk::{
        Device, Instance, Physical,
        info::{DeviceInfo, DeviceKind, Stopping},
    },
};
use farptr_hmm::{PageSize, file_limit_as_error};
use farptr_rewrite::Fold;
use std::{path::PathBuf, sync::Arc};

/// Names a device by index or by a part of its name.
const DEVICE_VARIABLE: &str = "FARPTR_DEVICE";
/// Asks for an access mode.
const ACCESS_VARIABLE: &str = "FARPTR_ACCESS";
/// Asks for a backing.
const BACKING_VARIABLE: &str = "FARPTR_BACKING";
/// Switches proofs on or off.
const PROOFS_VARIABLE: &str = "FARPTR_PROOFS";
/// A choice of reuse.
const REUSE_VARIABLE: &str = "FARPTR_REUSE";
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
    access: Option<AccessMode>,
    backing: Option<Backing>,
    device_budget: Option<u64>,
    proofs: Option<bool>,
    reuse: Option<Reuse>,
    hooks: Hooks,
    validation: Option<bool>,
    time_kernels: bool,
    assumes_stopped: bool,
    cache: CachePlace,
}

/// The access mode, backing and reuse that were asked for, and whether launches may be proved.
#[derive(Clone, Copy)]
struct Modes {
    access: AccessMode,
    backing: Backing,
    proofs: bool,
    reuse: Reuse,
}

/// A device that was opened, and how host memory is reached on it.
struct Opened {
    launcher: Arc<Launcher>,
    kernels: Kernels,
    config: Arc<Config>,
    proof: String,
    loops: Loops,
    stopping: Stopping,
    narrow_offsets: bool,
}

#[derive(Clone, Debug, Default)]
enum CachePlace {
    #[default]
    Default,
    Folder(PathBuf),
    None,
}

impl Runtime {
    /// Options for a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }
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

    /// Asks for an access mode.
    ///
    /// Without it the environment variable `FARPTR_ACCESS` decides: auto, direct or mirrored.
    /// Without that it is [`AccessMode::Auto`].
    pub fn access(mut self, access: AccessMode) -> Self {
        self.access = Some(access);
        self
    }

    /// Says where the bytes are that kernels work on in mirrored access.
    ///
    /// With [`Backing::Copy`], [`AccessMode::Auto`] takes mirrored access; a program that asks for
    /// direct access gets that, which works on host memory whatever the backing.
    ///
    /// Without it the environment variable `FARPTR_BACKING` decides: auto, import or copy. Without
    /// that it is [`Backing::Auto`].
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = Some(backing);
        self
    }

    /// Limits the device memory that copied pages take in all scopes of the runtime together, in
    /// bytes; the rest of them stays in memory of the host that the device can read.
    ///
    /// Without it the limit is four fifths of what is free when the runtime is built, as the driver
    /// reports it (`VK_EXT_memory_budget`), or of all memory of the device if it does not; farptr's
    /// other buffers in that memory count, too. [`Explanation::device_budget`] is the number.
    pub fn device_budget(mut self, bytes: u64) -> Self {
        self.device_budget = Some(bytes);
        self
    }

    /// Says of which memory copies stay on the device from scope to scope.
    ///
    /// Without it the environment variable `FARPTR_REUSE` decides: never or anonymous; whoever sets
    /// it makes the promise of [`Reuse::Anonymous`] for the program. Without that it is
    /// [`Reuse::Never`].
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.reuse = Some(reuse);
        self
    }

    /// Whether launches may run without checks where it is proved, before they run, that no check
    /// would fail.
    ///
    /// A proof changes no result and accepts no launch that checks would refuse: only the time
    /// differs. Without this the environment variable `FARPTR_PROOFS` decides: on or off. Without
    /// that they are on. [`LaunchOptions::proofs`](crate::LaunchOptions::proofs) switches them off
    /// for a launch, and [`Stats::proved_launches`](crate::Stats::proved_launches) counts.
    pub fn proofs(mut self, on: bool) -> Self {
        self.proofs = Some(on);
        self
    }

    /// Runs the Khronos validation layer; its first error aborts the process with a message.
    ///
    /// Without it the environment variable `FARPTR_VALIDATION` decides: 1 is on.
    pub fn validation(mut self, on: bool) -> Self {
        self.validation = Some(on);
        self
    }

    /// Measures how long each kernel runs on the device, for
    /// [`Stats::kernel_times`](crate::Stats::kernel_times); off unless set.
    ///
    /// The device writes a timestamp before and after each launch. Launches of a runtime run one
    /// after the other anyway, so timestamps keep nothing from running side by side. Each takes
    /// time of its own: on llvmpipe, 87,000 instructions a launch. [`Explanation::times_kernels`]
    /// says whether the device can do it.
    pub fn time_kernels(mut self, on: bool) -> Self {
        self.time_kernels = on;
        self
    }

    /// Makes the loss of a device that works on host memory itself an error, in place of the end of
    /// the process.
    ///
    /// A device that was lost, or that does not end a launch, may go on writing. In direct access,
    /// and in mirrored access with [`Backing::Import`], it writes to lent memory, so a scope must
    /// not give that back. Unless completion can be proved within five seconds, the scope ends the
    /// process with a message. With this option it returns
    /// [`LaunchError::DeviceLost`](crate::LaunchError::DeviceLost) instead.
    ///
    /// [`Backing::Copy`] needs no promise: there the loss is an error, and lent memory is intact.
    ///
    /// # Safety
    ///
    /// From such an error of a scope on, for as long as the process lives:
    ///
    /// 1. Memory that was lent to the scope for writing, or that an unchecked kernel was to write,
    ///    is neither read, nor written, nor given back to an allocator, nor unmapped.
    /// 2. Memory that was lent to the scope for reading, or that an unchecked kernel was to read,
    ///    is not unmapped, and of its bytes the program does not rely on any: Vulkan calls the
    ///    content of imported memory undefined after the loss.
    #[allow(unsafe_code, reason = "public; its promise goes to `scope::scope`")]
    pub unsafe fn assume_stopped_when_lost(mut self) -> Self {
        self.assumes_stopped = true;
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
    /// comparing them and by running a kernel that follows a chain of host pointers. Mirrored
    /// access is proved with the same kernel, rewritten.
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
    /// * [`BuildError::UnknownAccess`] when `FARPTR_ACCESS` names no access mode.
    /// * [`BuildError::UnknownBacking`] when `FARPTR_BACKING` names no backing.
    /// * [`BuildError::UnknownReuse`] when `FARPTR_REUSE` is neither never nor anonymous.
    /// * [`BuildError::UnknownProofs`] when `FARPTR_PROOFS` is neither on nor off.
    /// * [`BuildError::Forked`] in a child made by `fork` from a process that had a runtime then.
    /// * [`BuildError::Shortage`] when a limit of the process stands behind one of these.
    /// * [`BuildError::Vulkan`] when a call failed for another reason.
    pub fn build(self) -> Result<Runtime, Error> {
        let _build = trace::span!("build");
        // Drivers write files, and the threads that they start keep this for good.
        let built = file_limit_as_error(|| self.build_somewhere());
        let runtime = built.map_err(shortage::behind)?;
        runtime.begin_counting();
        trace::event!(
            INFO,
            "device chosen",
            name = runtime.device_name(),
            driver = runtime.driver(),
            access = trace::debug(runtime.access()),
            backing = trace::debug(runtime.explain().backing()),
        );
        Ok(runtime)
    }

    fn build_somewhere(&self) -> Result<Runtime, BuildError> {
        let modes = Modes {
            access: self.wanted_access()?,
            backing: self.wanted_backing()?,
            proofs: self.wanted_proofs()?,
            reuse: self.wanted_reuse()?,
        };
        let validation = self.validation.unwrap_or_else(|| variable(VALIDATION_VARIABLE) == "1");
        let wanted =
            Wanted::parse(&self.device.clone().unwrap_or_else(|| variable(DEVICE_VARIABLE)));
        let instance = Instance::of_process(validation)?;
        let listed = Physical::list(&instance)?;
        let (opened, judged) = self.take_first(&instance, &listed, &wanted, modes);
        let Some(Opened { launcher, kernels, config, proof, loops, stopping, narrow_offsets }) =
            opened
        else {
            return Err(refusal(&wanted, &judged));
        };
        let times = match launcher.device().times() {
            Some(times) => Timing::Taken(times.clock),
            None if self.time_kernels => Timing::Unavailable,
            None => Timing::Off,
        };
        let explanation = Explanation {
            devices: judged,
            access: config.access,
            backing: config.backing,
            imports: ImportRules::of(&launcher.device().info),
            pages_imported: 0,
            tier: tier(&config),
            proof,
            loops,
            stopping,
            narrow_offsets,
            budget: launcher.device().budget().limit(),
            validation,
            times,
            cache: String::new(),
        };
        Ok(Runtime::new(launcher, kernels, config, explanation))
    }

    fn wanted_access(&self) -> Result<AccessMode, BuildError> {
        if let Some(access) = self.access {
            return Ok(access);
        }
        let word = variable(ACCESS_VARIABLE);
        AccessMode::parse(&word).ok_or(BuildError::UnknownAccess { word })
    }

    fn wanted_backing(&self) -> Result<Backing, BuildError> {
        if let Some(backing) = self.backing {
            return Ok(backing);
        }
        let word = variable(BACKING_VARIABLE);
        Backing::parse(&word).ok_or(BuildError::UnknownBacking { word })
    }

    fn wanted_reuse(&self) -> Result<Reuse, BuildError> {
        if let Some(reuse) = self.reuse {
            return Ok(reuse);
        }
        let word = variable(REUSE_VARIABLE);
        Reuse::parse(&word).ok_or(BuildError::UnknownReuse { word })
    }

    fn wanted_proofs(&self) -> Result<bool, BuildError> {
        if let Some(proofs) = self.proofs {
            return Ok(proofs);
        }
        let word = variable(PROOFS_VARIABLE);
        match word.trim().to_lowercase().as_str() {
            "" | "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(BuildError::UnknownProofs { word }),
        }
    }

    /// Tries devices in the order of preference and keeps a verdict on each, in Vulkan's order.
    fn take_first(
        &self,
        instance: &Arc<Instance>,
        listed: &[Physical],
        wanted: &Wanted,
        modes: Modes,
    ) -> (Option<Opened>, Vec<Judged>) {
        let infos: Vec<DeviceInfo> = listed.iter().map(|physical| physical.info.clone()).collect();
        let needs_import = modes.access == AccessMode::Direct || modes.backing == Backing::Import;
        let mut taken = None;
        let mut judged = Vec::new();
        for info in preference(&infos) {
            let refusal = match judge(info, wanted, needs_import) {
                Some(refusal) => Some(refusal),
                None if taken.is_some() => Some(Refusal::RankedLower),
                None => match self.open_and_prove(instance, &listed[info.index], modes) {
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
        modes: Modes,
    ) -> Result<Opened, String> {
        let opened = |error| format!("cannot be opened: {}", chain(&error));
        let (timed, copied) = (self.time_kernels, self.device_budget);
        let device = Device::open(instance, physical, timed, copied).map_err(opened)?;
        let device = Arc::new(device);
        let launcher = Arc::new(Launcher::new(&device).map_err(opened)?);
        let kernels = Kernels::new(&device, self.pipelines(&device)?);
        let load = |checked_in: CheckedIn| {
            let CheckedIn { name, words } = checked_in;
            kernels.get(name, words, None, &[], Keep::WhileUsed).map_err(|error| chain(&error))
        };
        let probe = load(PROBE)?;
        let original =
            probe.unchecked(PROBE.name, Fold::None, false).map_err(|error| chain(&error))?;
        let ran = litmus::try_loops(&launcher, &original)
            .map_err(|error| format!("the probe kernel does not run: {}", chain(&error)))?;
        let loops = Loops { cut_after: (ran < litmus::ITERATIONS).then_some(ran) };
        let stopping = try_stopping(&launcher, &load(ENDLESS)?)
            .map_err(|error| format!("its kernels cannot be ended: {}", chain(&error)))?;
        let (config, proof) = self.choose_access(&launcher, &probe, modes)?;
        let narrow_offsets = litmus::try_offsets(&launcher, &config, &load(OFFSETS)?)
            .map_err(|error| format!("its offsets cannot be tried: {}", chain(&error)))?;
        Ok(Opened { launcher, kernels, config, proof, loops, stopping, narrow_offsets })
    }

    /// The access mode that was asked for, or the first one that is proved, and the proof in words.
    fn choose_access(
        &self,
        launcher: &Arc<Launcher>,
        probe: &Arc<Code>,
        Modes { access, backing, proofs, reuse }: Modes,
    ) -> Result<(Arc<Config>, String), String> {
        let mut why = String::new();
        if access == AccessMode::Auto && backing == Backing::Copy {
            // Direct access works on no copies.
            why = ", since copies were asked for".to_owned();
        } else if access != AccessMode::Mirrored {
            let assumes_stopped = self.assumes_stopped;
            let config = Arc::new(Config { assumes_stopped, proofs, ..Config::DIRECT });
            match prove(launcher, &config, probe) {
                Ok(()) => return Ok((config, direct_proof())),
                Err(no) if access == AccessMode::Direct => return Err(no),
                Err(no) => why = format!(", since there is {no}"),
            }
        }
        let config = Arc::new(Config {
            access: ProvedAccess::Mirrored,
            backing: choose_backing(backing, &launcher.device().info),
            proofs,
            reuse,
            assumes_stopped: self.assumes_stopped,
            hooks: self.hooks,
        });
        // What the proof has lent is of no use to scopes.
        let alone = Arc::new(Config { reuse: Reuse::Never, ..Config::clone(&config) });
        prove(launcher, &alone, probe)?;
        let proof = format!("a rewritten kernel followed {} host pointers{why}", proof::LINKS);
        Ok((config, proof))
    }

    fn pipelines(&self, device: &Device) -> Result<Pipelines, String> {
        let folder = match &self.cache {
            CachePlace::Default => CacheFile::default_folder(),
            CachePlace::Folder(folder) => Some(folder.clone()),
            CachePlace::None => None,
        };
        let file = folder.map(|folder| CacheFile::new(&folder, &device.info.cache_key));
        Pipelines::open(device, file).map_err(|error| chain(&error))
    }
}

impl TestHooks for RuntimeBuilder {
    fn staged_copies(mut self, on: bool) -> Self {
        self.hooks.staged_copies = on;
        self
    }

    fn serve_faults(mut self, seed: u64, most_per_round: usize) -> Self {
        let most_per_round = most_per_round.max(1);
        self.hooks.serve_faults = Some(ServeFaults { seed, most_per_round });
        self
    }

    fn refuse_imports_above(mut self, bytes: u64) -> Self {
        self.hooks.import_limit = Some(bytes);
        self
    }
}

fn choose_backing(wanted: Backing, device: &DeviceInfo) -> ChosenBacking {
    match wanted {
        Backing::Auto => {
            let shares = matches!(device.kind, DeviceKind::Cpu | DeviceKind::Integrated);
            // Few lends fill pieces that are larger than pages.
            let page = PageSize::host().bytes();
            let import = shares && device.import_alignment.is_some_and(|bytes| bytes <= page);
            if import { ChosenBacking::Import } else { ChosenBacking::Copy }
        }
        Backing::Import => ChosenBacking::Import,
        Backing::Copy => ChosenBacking::Copy,
    }
}

fn direct_proof() -> String {
    format!(
        "device addresses equal host addresses, and a kernel followed {} host pointers",
        proof::LINKS
    )
}

/// Proves an access mode, or says why a device does not have it.
fn prove(launcher: &Arc<Launcher>, config: &Arc<Config>, probe: &Arc<Code>) -> Result<(), String> {
    let mode = config.access;
    proof::prove(launcher, config, probe).map_err(|disproof| match disproof {
        Disproof::NoMemory(error) => format!("no pages for the proof: {error}"),
        Disproof::Failed(error) => format!("no {mode} access: {}", chain(&error)),
        Disproof::WrongChain { saw } => format!(
            "no {mode} access: a kernel saw {saw} of {} links of a chain of host pointers",
            proof::LINKS
        ),
    })
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

/// The place of lent data between launches.
fn tier(config: &Config) -> ResidencyTier {
    if config.keeps() && Stores::of_process().is_some() {
        ResidencyTier::Scoped
    } else {
        ResidencyTier::None
    }
}
