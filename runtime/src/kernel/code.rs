//! The words of a kernel, and the forms of them that are compiled for a device.

use super::pipelines::Pipelines;
use crate::{
    KernelError, LaunchError, trace,
    vk::{
        Device, Pipeline, Shader,
        info::{DeviceInfo, Traits, Version},
    },
};
use farptr_rewrite::{
    Analysis, Fold, Footprint, FootprintCache, IndexedAccess, Integers, KernelFootprint, Program,
    Proved, Reflection, RewriteError, Variant, without_unused_capabilities,
    without_young_languages,
};
use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// A form of a kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The words as they are.
    Original,
    /// Without checks, as the pass writes it: for launches that are proved, for folded grids, or
    /// with offsets that the kernel computes in 64 bits.
    Plain {
        fold: Fold,
        wide_offsets: bool,
    },
    Checked(Variant),
}

impl Form {
    /// Whether it has a control block.
    fn is_controlled(self) -> bool {
        match self {
            Self::Original => false,
            Self::Plain { fold, .. } => fold != Fold::None,
            Self::Checked(_) => true,
        }
    }
}

/// Forms that leave out checks, of one kernel: what is proved may differ from launch to launch, and
/// compiling takes longer than checks.
const MOST_PROVED_FORMS: usize = 16;

/// A kernel as the rewriting pass understood it.
struct Parsed {
    program: Program,
    facts: Arc<Facts>,
}

/// The facts about a kernel by which launches are checked and faults are named.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) analysis: Analysis,
    /// The names of the members of the push constants, by offset.
    pub(crate) push_names: Vec<(u32, String)>,
}

/// The words and the entry point of a kernel, and the forms of it that are compiled so far.
pub(crate) struct Code {
    device: Arc<Device>,
    pipelines: Arc<Pipelines>,
    words: Arc<[u32]>,
    pub(crate) reflection: Reflection,
    /// The kernel as the rewriting pass understood it, once a checked launch needed it.
    parsed: OnceLock<Result<Parsed, RewriteError>>,
    forms: Mutex<List<Form, Arc<Pipeline>>>,
    /// The footprints of the last launches.
    footprints: Mutex<FootprintCache>,
    /// The kernel's own words for launches that are proved, by the checked form that would run
    /// otherwise; none where there is one of the two only.
    proved: Mutex<List<ProvedForm, Option<Arc<Pipeline>>>>,
    /// Whether the pass can make the forms with checks that launches would run otherwise.
    checkable: Mutex<List<Variant, bool>>,
    /// For roots of the analysis, by position: the most pages that a launch missed of the lend that
    /// the root led to, where that was half of it.
    gathered: Mutex<List<usize, usize>>,
}

/// Values by their keys. A kernel has few forms, so that comparing each costs less than a hash of
/// one, and every launch looks.
type List<K, V> = Vec<(K, V)>;

fn find<'l, K: PartialEq, V>(list: &'l [(K, V)], key: &K) -> Option<&'l V> {
    list.iter().find_map(|(known, value)| (known == key).then_some(value))
}

/// A form without checks, and the checked form that it stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ProvedForm {
    wide_offsets: bool,
    checked: Variant,
}

impl Code {
    /// The bytes of push constants that the kernel declares, of those that it was given; `None` if
    /// these are too few, or more than fill up the alignment.
    pub(crate) fn push<'p>(&self, given: &'p [u8]) -> Option<&'p [u8]> {
        let words = self.reflection.push_word_bytes() as usize;
        self.reflection.takes_push(given.len()).then(|| &given[..words])
    }

    /// Checks a kernel's words against the device.
    pub(crate) fn new(
        device: &Arc<Device>,
        pipelines: &Arc<Pipelines>,
        kernel: &'static str,
        words: Arc<[u32]>,
        entry: Option<&str>,
    ) -> Result<Self, KernelError> {
        let words = replaced(words, without_unused_capabilities);
        let words = replaced(words, without_young_languages);
        let reflection = Reflection::of_entry(&words, entry)
            .map_err(|source| KernelError::Words { kernel, source })?;
        check(kernel, &reflection, &device.info)?;
        Ok(Self {
            device: Arc::clone(device),
            pipelines: Arc::clone(pipelines),
            words,
            reflection,
            parsed: OnceLock::new(),
            forms: Mutex::default(),
            footprints: Mutex::default(),
            proved: Mutex::default(),
            checkable: Mutex::default(),
            gathered: Mutex::default(),
        })
    }

    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The facts about the kernel, by which launches are checked.
    pub(crate) fn facts(&self, kernel: &'static str) -> Result<&Arc<Facts>, LaunchError> {
        let parsed = self.parsed().map_err(|source| refused(kernel, source.clone()))?;
        Ok(&parsed.facts)
    }

    /// The facts about the kernel's accesses, unless it cannot be rewritten.
    pub(crate) fn analysis(&self) -> Result<&Analysis, &RewriteError> {
        Ok(&self.parsed()?.facts.analysis)
    }

    fn parsed(&self) -> Result<&Parsed, &RewriteError> {
        let parse = || {
            let _analyse = trace::span!("analyse", words = self.words.len());
            let program = Program::parse(&self.words, Some(&self.reflection.entry))?;
            let push_names = self.reflection.push_names.clone();
            let facts = Arc::new(Facts { analysis: program.analysis().clone(), push_names });
            Ok(Parsed { program, facts })
        };
        self.parsed.get_or_init(parse).as_ref()
    }

    /// The kernel without checks, compiled: as it is, unless the grid is folded, or more memory is
    /// lent than the driver's offsets reach.
    pub(crate) fn unchecked(
        &self,
        kernel: &'static str,
        fold: Fold,
        wide_offsets: bool,
    ) -> Result<Arc<Pipeline>, LaunchError> {
        if fold == Fold::None && !wide_offsets {
            return self.form(kernel, Form::Original, || Ok(Arc::clone(&self.words)));
        }
        self.plain(kernel, fold, wide_offsets)
    }

    /// The kernel without checks, compiled, as the pass writes it: without debug information and
    /// other entry points, for which a device may lack extensions.
    fn plain(
        &self,
        kernel: &'static str,
        fold: Fold,
        wide_offsets: bool,
    ) -> Result<Arc<Pipeline>, LaunchError> {
        self.form(kernel, Form::Plain { fold, wide_offsets }, || {
            let _rewrite = trace::span!("rewrite", kernel = kernel, variant = trace::debug(fold));
            let entry = Some(&*self.reflection.entry);
            let integers = wide_offsets.then(|| integers(self.device.traits()));
            let words = farptr_rewrite::unchecked(&self.words, entry, fold, integers);
            words
                .map(Arc::from)
                .map_err(|source| LaunchError::Fold { kernel, source: source.into() })
        })
    }

    /// The kernel in the form of a variant, compiled.
    pub(crate) fn rewritten(
        &self,
        kernel: &'static str,
        variant: &Variant,
    ) -> Result<Arc<Pipeline>, LaunchError> {
        self.form(kernel, Form::Checked(*variant), || {
            let parsed = self.parsed().map_err(|source| refused(kernel, source.clone()))?;
            let program = &parsed.program;
            // Pipelines have one descriptor set. Kernels with sets of their own were refused.
            if program.analysis().control_set != 0 {
                return Err(refused(kernel, bound_resources()));
            }
            let _rewrite =
                trace::span!("rewrite", kernel = kernel, variant = trace::debug(variant));
            program.rewrite(variant).map(Arc::from).map_err(|source| refused(kernel, source))
        })
    }

    /// What a launch of so many workgroups touches, as far as it is known before it runs.
    pub(crate) fn footprint(
        &self,
        kernel: &'static str,
        push: &[u8],
        groups: [u32; 3],
    ) -> Result<Arc<Footprint>, LaunchError> {
        let parsed = self.parsed().map_err(|source| refused(kernel, source.clone()))?;
        let footprints = parsed.program.footprints();
        // As in `form`, for a panic.
        let mut known = self.footprints.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.of_launch(footprints, push, groups))
    }

    /// As [`footprint`](Self::footprint), with the bytes that the launch overwrites. That takes
    /// half as long again or more, and is not remembered.
    pub(crate) fn footprint_with_overwritten(
        &self,
        kernel: &'static str,
        push: &[u8],
        groups: [u32; 3],
    ) -> Result<Footprint, LaunchError> {
        let parsed = self.parsed().map_err(|source| refused(kernel, source.clone()))?;
        Ok(parsed.program.footprints().of_launch_with_overwritten(push, groups))
    }

    /// Notes that a launch missed half of the lend that a root led to, by the root's position in
    /// the analysis, and how many pages that was.
    pub(crate) fn note_gathered(&self, root: usize, pages: usize) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        match gathered.iter_mut().find(|(known, _)| *known == root) {
            Some((_, most)) => *most = pages.max(*most),
            None => gathered.push((root, pages)),
        }
    }

    /// The most pages that a launch missed behind a root, where that was half of the lend; else 0.
    pub(crate) fn gathered(&self, root: usize) -> usize {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        find(&gathered, &root).copied().unwrap_or(0)
    }

    /// The accesses whose index comes from memory and is common to several arguments.
    pub(crate) fn common_indices(&self) -> &[Vec<IndexedAccess>] {
        self.parsed().map_or(&[], |parsed| parsed.program.footprints().common_indices())
    }

    /// What every launch touches, in words.
    pub(crate) fn words_of_all_launches(&self) -> Result<KernelFootprint, &RewriteError> {
        let Parsed { program, facts } = self.parsed()?;
        Ok(program.footprints().of_kernel(&facts.analysis, &facts.push_names))
    }

    /// Operations of an invocation, as [`Footprints::operations`] counts them.
    ///
    /// [`Footprints::operations`]: farptr_rewrite::Footprints::operations
    pub(crate) fn operations(&self) -> u64 {
        self.parsed().map_or(u64::MAX, |parsed| parsed.program.footprints().operations())
    }

    /// Whether a form that leaves out checks may run in place of the `checked` one: that can be
    /// made, and the kernel has not too many such forms already.
    pub(crate) fn may_leave_out(&self, variant: &Variant, checked: &Variant) -> bool {
        let forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        let is_proved =
            |form: &&Form| matches!(form, Form::Checked(of) if of.proved != Proved::NOTHING);
        let has_room = find(&forms, &Form::Checked(*variant)).is_some()
            || forms.iter().map(|(form, _)| form).filter(is_proved).count() < MOST_PROVED_FORMS;
        drop(forms);
        has_room && self.is_checkable(checked)
    }

    /// Whether the pass can make a form with checks.
    fn is_checkable(&self, checked: &Variant) -> bool {
        let mut known = self.checkable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&is_checkable) = find(&known, checked) {
            return is_checkable;
        }
        let is_checkable = self.parsed().is_ok_and(|parsed| {
            parsed.program.analysis().control_set == 0 && parsed.program.rewrite(checked).is_ok()
        });
        known.push((*checked, is_checkable));
        is_checkable
    }

    /// The kernel's own words, compiled, for a launch that is proved, and would run in a checked
    /// form otherwise. `None` where that form cannot be made, so that the launch is refused
    /// whether or not it is proved, or where the driver does not take the words as they are.
    pub(crate) fn proved(
        &self,
        kernel: &'static str,
        checked: &Variant,
        wide_offsets: bool,
    ) -> Option<Arc<Pipeline>> {
        let key = ProvedForm { wide_offsets, checked: *checked };
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(form) = find(&proved, &key) {
            return form.clone();
        }
        let is_made = self.is_checkable(checked);
        let form = is_made.then(|| self.plain(kernel, checked.fold, wide_offsets).ok()).flatten();
        proved.push((key, form.clone()));
        form
    }

    /// What [`rewritten`](Self::rewritten) gives, if that is compiled already.
    pub(crate) fn known_rewritten(&self, variant: &Variant) -> Option<Arc<Pipeline>> {
        self.known(&Form::Checked(*variant))
    }

    /// What [`unchecked`](Self::unchecked) gives, if that is compiled already.
    pub(crate) fn known_unchecked(&self, fold: Fold, wide_offsets: bool) -> Option<Arc<Pipeline>> {
        self.known(&match (fold, wide_offsets) {
            (Fold::None, false) => Form::Original,
            _ => Form::Plain { fold, wide_offsets },
        })
    }

    /// Whether [`proved`](Self::proved) has been asked for a form, so that it compiles nothing.
    pub(crate) fn has_proved(&self, checked: &Variant, wide_offsets: bool) -> bool {
        let key = ProvedForm { wide_offsets, checked: *checked };
        find(&self.proved.lock().unwrap_or_else(PoisonError::into_inner), &key).is_some()
    }

    /// Proofs that forms with checks rely on, of each compiled one.
    pub(crate) fn left_out(&self) -> Vec<Proved> {
        let forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        let proved = |form: &Form| match form {
            Form::Checked(variant) => Some(variant.proved),
            Form::Original | Form::Plain { .. } => None,
        };
        forms.iter().filter_map(|(form, _)| proved(form)).collect()
    }

    fn known(&self, form: &Form) -> Option<Arc<Pipeline>> {
        find(&self.forms.lock().unwrap_or_else(PoisonError::into_inner), form).cloned()
    }

    fn form(
        &self,
        kernel: &'static str,
        form: Form,
        words: impl FnOnce() -> Result<Arc<[u32]>, LaunchError>,
    ) -> Result<Arc<Pipeline>, LaunchError> {
        // The lock is held while the driver compiles, so that no form is compiled twice. A panic
        // under it cannot leave a half-made entry, so a poisoned lock is as good as any.
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = find(&forms, &form) {
            return Ok(Arc::clone(pipeline));
        }
        let words = words()?;
        let _compile = trace::span!("compile", kernel = kernel, words = words.len());
        let shader = Shader {
            words: &words,
            entry: &self.reflection.entry,
            push_bytes: self.reflection.push_word_bytes(),
            controlled: form.is_controlled(),
        };
        let pipeline = self
            .pipelines
            .compile(&self.device, &shader)
            .map_err(|source| LaunchError::Compile { kernel, source })?;
        let pipeline = Arc::new(pipeline);
        forms.push((form, Arc::clone(&pipeline)));
        Ok(pipeline)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

/// The words that a change makes of words, which stay where they are if it changes none.
fn replaced(words: Arc<[u32]>, change: impl FnOnce(&[u32]) -> Cow<'_, [u32]>) -> Arc<[u32]> {
    match change(&words) {
        Cow::Borrowed(_) => words,
        Cow::Owned(changed) => changed.into(),
    }
}

/// The integers that kernels compute addresses with on a device.
pub(crate) fn integers(traits: Traits) -> Integers {
    if traits.int64 { Integers::Native } else { Integers::Pairs }
}

/// The error for a kernel that reflection should have refused.
fn bound_resources() -> RewriteError {
    let reason = "it gives a descriptor set to what is not bound to one";
    RewriteError::Damaged { reason: reason.to_owned() }
}

fn refused(kernel: &'static str, source: RewriteError) -> LaunchError {
    LaunchError::Rewrite { kernel, source: Box::new(source) }
}

fn check(name: &'static str, kernel: &Reflection, device: &DeviceInfo) -> Result<(), KernelError> {
    if kernel.descriptors > 0 {
        let descriptors = kernel.descriptors;
        return Err(KernelError::Descriptors { kernel: name, descriptors });
    }
    let newest = newest_spirv(device.version);
    if kernel.version > newest {
        let ((major, minor), (newest_major, newest_minor)) = (kernel.version, newest);
        return Err(KernelError::Limit {
            kernel: name,
            what: format!("SPIR-V {major}.{minor}"),
            limit: format!("{newest_major}.{newest_minor}, with Vulkan {}", device.version),
            device: device.name.clone(),
        });
    }
    let lacking = |capability: &&_| !device.capabilities.contains(capability);
    if let Some(&capability) = kernel.capabilities.iter().find(lacking) {
        let device = device.name.clone();
        return Err(KernelError::Capability { kernel: name, capability, device });
    }
    check_limits(name, kernel, device)
}

/// The newest SPIR-V version that a Vulkan version takes (Vulkan specification, appendix A).
fn newest_spirv(vulkan: Version) -> (u8, u8) {
    if vulkan >= (Version { major: 1, minor: 3 }) { (1, 6) } else { (1, 5) }
}

fn check_limits(
    name: &'static str,
    kernel: &Reflection,
    device: &DeviceInfo,
) -> Result<(), KernelError> {
    let limits = &device.limits;
    let over = |what: String, limit: String| {
        Err(KernelError::Limit { kernel: name, what, limit, device: device.name.clone() })
    };
    if kernel.push_word_bytes() > limits.push_bytes {
        let what = format!("{} bytes of push constants", kernel.push_bytes);
        return over(what, limits.push_bytes.to_string());
    }
    if kernel.shared_bytes > limits.shared_bytes.into() {
        let what = format!("{} bytes that a workgroup shares", kernel.shared_bytes);
        return over(what, limits.shared_bytes.to_string());
    }
    let size = kernel.local_size;
    if size.iter().zip(limits.group_size).any(|(&size, limit)| size > limit) {
        return over(format!("workgroups of {size:?}"), format!("{:?}", limits.group_size));
    }
    let invocations: u64 = size.iter().map(|&size| u64::from(size)).product();
    if invocations > u64::from(limits.group_invocations) {
        let what = format!("{invocations} invocations per workgroup");
        return over(what, limits.group_invocations.to_string());
    }
    Ok(())
}
