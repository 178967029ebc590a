//! The GPUs that kernels are compiled for, and the environment in which the driver shows them.

use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fmt};

/// Where the system's loader looks for drivers.
const SYSTEM_FOLDERS: [&str; 3] =
    ["/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d"];

/// A family of AMD's GPUs, and a release of the driver that compiles for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name of the family's processor, as the driver has it.
    pub family: &'static str,
    /// The release of the driver.
    pub release: Release,
}

/// A release of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The system's own.
    System,
    /// The one that `./farptr mesa25` fetches.
    Mesa25,
}

/// There is no driver for a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no manifest of RADV, Mesa's driver for AMD; {help}")]
pub struct NoDriver {
    help: &'static str,
}

impl Target {
    /// Every target: the families by age, with the system's driver and then with Mesa 25.
    pub const ALL: [Self; 7] = [
        Self::system("polaris10"),
        Self::system("vega10"),
        Self::system("navi21"),
        Self::mesa25("polaris10"),
        Self::mesa25("vega10"),
        Self::mesa25("navi21"),
        // Debian 12's own driver is older than this family.
        Self::mesa25("gfx1201"),
    ];

    /// A target of the system's driver.
    #[must_use]
    pub const fn system(family: &'static str) -> Self {
        Self { family, release: Release::System }
    }

    /// A target of Mesa 25.
    #[must_use]
    pub const fn mesa25(family: &'static str) -> Self {
        Self { family, release: Release::Mesa25 }
    }

    /// Gives a process the environment in which the driver shows this target and nothing else, and
    /// compiles each kernel anew.
    ///
    /// # Errors
    ///
    /// [`NoDriver`] if the driver is not on this machine.
    pub fn apply(self, process: &mut Command) -> Result<&mut Command, NoDriver> {
        let manifest = self.release.manifest()?;
        process.env("RADV_FORCE_FAMILY", self.family);
        process.env("VK_DRIVER_FILES", &manifest).env("VK_ICD_FILENAMES", &manifest);
        Ok(process.env("MESA_SHADER_CACHE_DISABLE", "true"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.release {
            Release::System => write!(f, "{}", self.family),
            Release::Mesa25 => write!(f, "{}-mesa25", self.family),
        }
    }
}

impl Release {
    fn manifest(self) -> Result<PathBuf, NoDriver> {
        let is_there = |path: &PathBuf| path.is_file();
        let (found, help) = match self {
            Self::System => {
                let names = [format!("radeon_icd.{ARCH}.json"), "radeon_icd.json".to_owned()];
                let paths = SYSTEM_FOLDERS.iter().flat_map(|folder| {
                    names.iter().map(move |name| [folder, &**name].iter().collect())
                });
                (paths.into_iter().find(is_there), "`./farptr setup` installs it")
            }
            Self::Mesa25 => {
                let path = cache().map(|cache| cache.join("farptr/mesa25/radeon_icd.json"));
                (path.filter(is_there), "`./farptr mesa25` fetches it")
            }
        };
        found.ok_or(NoDriver { help })
    }
}

/// The user's folder for what can be fetched again.
fn cache() -> Option<PathBuf> {
    let named = |name| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))
}
