//! The failures of a run, each as one line for a person.

use std::path::PathBuf;

/// Why a run failed. A message does not repeat its source; [`chain`] prints both.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// farptr refused or failed.
    #[error(transparent)]
    Farptr(#[from] farptr::Error),
    /// Host memory could not be walked.
    #[error(transparent)]
    Walk(#[from] farptr_hmm::FaultError),
    /// The mirror of host memory failed.
    #[error("the mirror failed")]
    Mirror(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Pages cannot be kept away from home here. The other cases can still be measured.
    #[error(
        "pages cannot be moved to devices: this process cannot serve the page faults of system \
         calls; run as root or give access to /dev/userfaultfd"
    )]
    Unprivileged,
    /// The device, which farptr can use, has not the access mode that a variant needs. The other
    /// cases can still be measured.
    #[error("a variant needs {mode} access")]
    NoAccess {
        mode: farptr::AccessMode,
        #[source]
        source: farptr::Error,
    },
    /// A sample of farptr failed.
    #[error(transparent)]
    Sample(#[from] farptr_samples::SampleError),
    /// farptr refused a kernel.
    #[error(transparent)]
    KernelRefused(#[from] farptr::KernelError),
    /// A system call of a rival failed.
    #[error("{call} failed in a hand-written program")]
    Linux {
        call: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// The system gives small pages where huge ones are to be measured.
    #[error(
        "only {huge} of {wanted} pages are in huge pages; free some memory, or allow `madvise` in \
         /sys/kernel/mm/transparent_hugepage/enabled"
    )]
    NoHugePages { huge: u64, wanted: u64 },
    /// A Vulkan call of a rival failed.
    #[error("{call} failed in hand-written Vulkan")]
    Vulkan {
        call: &'static str,
        #[source]
        result: ash::vk::Result,
    },
    /// The rivals cannot load Vulkan, although farptr could.
    #[error("hand-written Vulkan cannot load the Vulkan library")]
    Loader(#[from] ash::LoadingError),
    /// farptr's device is not in the rivals' list.
    #[error("hand-written Vulkan finds no device named `{name}`, which farptr chose")]
    DeviceNotFound { name: String },
    /// A child of `farptr doctor` was asked for something that does not exist.
    #[error("there is no probe `{name}`")]
    NoSuchProbe { name: String },
    /// the device has no memory of the kind that a rival needs.
    #[error("the device has no {kind} memory for {size_bytes} bytes")]
    NoMemoryType { kind: &'static str, size_bytes: u64 },
    /// The rivals cannot import host memory. Other cases can still be measured.
    #[error("the device cannot import host memory in pieces of {bytes} bytes, as a rival does")]
    NoImport { bytes: usize },
    /// The memory of the staged copies.
    #[error("cannot allocate memory for staged copies")]
    Allocator(#[from] gpu_allocator::AllocationError),
    /// The shipped kernel's words cannot be read.
    #[error("A shipped kernel cannot be used")]
    Kernel(#[from] farptr::rewrite::ReflectError),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The table or the list could not be printed.
    #[error("cannot print")]
    Print(#[from] std::io::Error),
    /// The results could not be turned into JSON.
    #[error("cannot write the results as JSON")]
    Json(#[from] serde_json::Error),
    /// There is no driver for AMD's GPUs. Other targets can still be compiled for.
    #[error(transparent)]
    NoDriver(#[from] farptr_radv::NoDriver),
    /// The process that compiles for a target could not be started.
    #[error("cannot start the process that compiles for {target}")]
    Process {
        target: String,
        #[source]
        source: std::io::Error,
    },
    /// The process that compiles for a target failed.
    #[error("the process that compiles for {target} failed ({ended}): {said}")]
    Ended { target: String, ended: std::process::ExitStatus, said: String },
    /// The compiler for AMD's GPUs could not be opened.
    #[error("the compiler for AMD's GPUs cannot be opened")]
    Compiler(#[from] farptr_radv::OpenError),
    /// The rewriting pass refused a shipped kernel.
    #[error("cannot rewrite {what}")]
    Form {
        what: String,
        #[source]
        source: farptr::RewriteError,
    },
    /// A family lacks what a shipped kernel needs.
    #[error("the device lacks {capability:?}, which {what} needs")]
    Lacks { what: String, capability: farptr::rewrite::Capability },
    /// The driver refused a form.
    #[error("the driver cannot compile {what}")]
    Compile {
        what: String,
        #[source]
        source: farptr_radv::Call,
    },
    /// Some variants computed a wrong result.
    #[error("wrong answers, so their times mean nothing: {which}")]
    Wrong { which: String },
}

impl Failure {
    /// Whether a case cannot be measured on this machine, while others can: its lack of privilege,
    /// of an access mode or of imports is no failure of what is measured.
    pub(crate) fn is_of_this_machine(&self) -> bool {
        matches!(self, Self::Unprivileged | Self::NoAccess { .. } | Self::NoImport { .. })
    }

    /// Wraps an error of the mirror.
    pub(crate) fn mirror(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Mirror(Box::new(error))
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |line, source| format!("{line}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_one_line_with_the_cause() {
        let failure = Failure::Write {
            path: "/nowhere/x.json".into(),
            source: std::io::Error::other("no such folder"),
        };
        assert_eq!(chain(&failure), "cannot write /nowhere/x.json: no such folder");
    }
}
