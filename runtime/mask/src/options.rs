//! What the variable `FARPTR_MASK` asks for.

use crate::faults::Fault;
use ash::vk;
use std::{path::PathBuf, str::FromStr, time::Duration};

/// The variable.
pub(crate) const VARIABLE: &str = "FARPTR_MASK";

/// The rows: names for several options.
const ROWS: [(&str, &str); 9] = [
    ("lavapipe", ""),
    ("shadow", "shadow=yes"),
    (
        "nvidia",
        "type=discrete,heaps=bar,shadow=yes,poison=yes,import-alignment=4096,import-promise=yes,\
         transfer-queue=yes",
    ),
    ("nvidia-rebar", "nvidia,heaps=rebar"),
    (
        "amd-igpu",
        "type=integrated,heaps=carved,vram=512,shadow=yes,import-file=no,import-promise=yes",
    ),
    (
        "intel-igpu",
        "type=integrated,heaps=shared,shadow=yes,import-read-only=lost,import-promise=yes",
    ),
    ("nvk", "nvidia,import=no,transfer-queue=no"),
    (
        "tiny",
        "nvidia,vram=1,bar=0,allocations=4096,int64=no,push=128,import-alignment=65536,\
         transfer-queue=no",
    ),
    ("watchdog", "type=discrete,heaps=rebar,shadow=yes,watchdog=300,import-promise=yes"),
];

/// The memory heaps and types of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Those of the driver.
    Driver,
    /// A card: its memory, of which the host can map a window, and the host's memory.
    Bar,
    /// A card whose memory the host can map as a whole.
    Rebar,
    /// One memory for host and device, of one type.
    Shared,
    /// One memory, of which a part was set aside for the device.
    Carved,
}

/// The answer to whether buffers can have imported host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// That of the driver.
    Driver,
    Yes,
    No,
    /// In an allocation for one buffer alone; all others are refused.
    Dedicated,
}

/// How a device differs from the driver's. What is `None` is the driver's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) kind: Option<vk::PhysicalDeviceType>,
    pub(crate) layout: Layout,
    /// In MiB, as are the next two.
    pub(crate) vram: u64,
    pub(crate) bar: u64,
    /// What `VK_EXT_memory_budget` says of memory of the device.
    pub(crate) budget: Option<u64>,
    pub(crate) shadow: bool,
    pub(crate) poison: bool,
    pub(crate) import: bool,
    pub(crate) promise: Promise,
    /// Whether memory of files can be imported.
    pub(crate) import_file: bool,
    /// Whether a submission loses the device if memory is imported that the host may only read.
    pub(crate) read_only_loses: bool,
    /// In bytes.
    pub(crate) import_alignment: Option<u64>,
    pub(crate) allocations: Option<u32>,
    /// The length of the longest buffer, in MiB.
    pub(crate) max_buffer: Option<u64>,
    pub(crate) int64: bool,
    /// In bytes.
    pub(crate) push: Option<u32>,
    /// Whether dispatches that no barrier separates run in the reverse order.
    pub(crate) reorder: bool,
    /// Whether there is a family more, whose queue copies alone.
    pub(crate) transfer_queue: bool,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) faults: Vec<Fault>,
    /// A part of the names of the devices that are masked; all are without it.
    pub(crate) only: Option<String>,
    pub(crate) report: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: None,
            layout: Layout::Driver,
            vram: 8192,
            bar: 256,
            budget: None,
            shadow: false,
            poison: false,
            import: true,
            promise: Promise::Driver,
            import_file: true,
            read_only_loses: false,
            import_alignment: None,
            allocations: None,
            max_buffer: None,
            int64: true,
            push: None,
            reorder: false,
            transfer_queue: false,
            watchdog: None,
            faults: Vec::new(),
            only: None,
            report: None,
        }
    }
}

impl Options {
    /// Reads the variable.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        text.parse().map_err(|error| format!("{VARIABLE}={text}: {error}"))
    }

    fn apply(&mut self, word: &str) -> Result<(), String> {
        if let Some((_, row)) = ROWS.iter().find(|(name, _)| *name == word) {
            return row.split(',').filter(|word| !word.is_empty()).try_for_each(|w| self.apply(w));
        }
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        self.set(name, value).map_err(|why| format!("'{word}': {why}"))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "type" => self.kind = Some(one_of(value, &KINDS)?),
            "heaps" => self.layout = one_of(value, &LAYOUTS)?,
            "vram" => self.vram = number(value)?,
            "bar" => self.bar = number(value)?,
            "budget" => self.budget = Some(number(value)?),
            "shadow" => self.shadow = one_of(value, &YES_OR_NO)?,
            "poison" => self.poison = one_of(value, &YES_OR_NO)?,
            "import" => self.import = one_of(value, &YES_OR_NO)?,
            "import-promise" => self.promise = one_of(value, &PROMISES)?,
            "import-file" => self.import_file = one_of(value, &YES_OR_NO)?,
            "import-read-only" => {
                self.read_only_loses = one_of(value, &[("lost", true), ("yes", false)])?;
            }
            "import-alignment" => self.import_alignment = Some(power_of_two(value)?),
            "allocations" => self.allocations = Some(number(value)?),
            "max-buffer" => self.max_buffer = Some(number(value)?),
            "int64" => self.int64 = one_of(value, &YES_OR_NO)?,
            "push" => self.push = Some(number(value)?),
            "reorder" => self.reorder = one_of(value, &YES_OR_NO)?,
            "transfer-queue" => self.transfer_queue = one_of(value, &YES_OR_NO)?,
            "watchdog" if value == "no" => self.watchdog = None,
            "watchdog" => self.watchdog = Some(Duration::from_millis(number(value)?)),
            "fail" => self.faults.push(value.parse()?),
            "only" if !value.is_empty() => self.only = Some(value.to_owned()),
            "only" => return Err("a part of a name is missing".to_owned()),
            "report" if !value.is_empty() => self.report = Some(value.into()),
            "report" => return Err("a path is missing".to_owned()),
            _ => {
                return Err(format!("the rows are {}, the options {}", rows(), OPTIONS.join(", ")));
            }
        }
        Ok(())
    }
}

/// Words between commas: rows and options, of which later ones override earlier ones.
impl FromStr for Options {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        text.split(',').try_for_each(|word| options.apply(word))?;
        Ok(options)
    }
}

const OPTIONS: [&str; 22] = [
    "type",
    "heaps",
    "vram",
    "bar",
    "budget",
    "shadow",
    "poison",
    "import",
    "import-promise",
    "import-file",
    "import-read-only",
    "import-alignment",
    "allocations",
    "max-buffer",
    "int64",
    "push",
    "reorder",
    "transfer-queue",
    "watchdog",
    "fail",
    "only",
    "report",
];

const KINDS: [(&str, vk::PhysicalDeviceType); 4] = [
    ("discrete", vk::PhysicalDeviceType::DISCRETE_GPU),
    ("integrated", vk::PhysicalDeviceType::INTEGRATED_GPU),
    ("virtual", vk::PhysicalDeviceType::VIRTUAL_GPU),
    ("cpu", vk::PhysicalDeviceType::CPU),
];

const LAYOUTS: [(&str, Layout); 5] = [
    ("driver", Layout::Driver),
    ("bar", Layout::Bar),
    ("rebar", Layout::Rebar),
    ("shared", Layout::Shared),
    ("carved", Layout::Carved),
];

const PROMISES: [(&str, Promise); 4] = [
    ("driver", Promise::Driver),
    ("yes", Promise::Yes),
    ("no", Promise::No),
    ("dedicated", Promise::Dedicated),
];

const YES_OR_NO: [(&str, bool); 2] = [("yes", true), ("no", false)];

fn rows() -> String {
    ROWS.map(|(name, _)| name).join(", ")
}

fn one_of<T: Copy>(value: &str, values: &[(&str, T)]) -> Result<T, String> {
    let found = values.iter().find(|(name, _)| *name == value).map(|&(_, value)| value);
    let names = || values.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ");
    found.ok_or_else(|| format!("its value is {}", names()))
}

fn number<T: FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "its value is a number".to_owned())
}

fn power_of_two(value: &str) -> Result<u64, String> {
    let bytes: u64 = number(value)?;
    bytes.is_power_of_two().then_some(bytes).ok_or_else(|| "its value is a power of 2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_words_override_earlier_ones() {
        let options: Options = "nvk,watchdog=300,import=yes,fail=wait:3".parse().unwrap();
        assert_eq!(options.kind, Some(vk::PhysicalDeviceType::DISCRETE_GPU));
        assert_eq!(options.watchdog, Some(Duration::from_millis(300)));
        assert!(options.import && options.shadow);
        assert_eq!(options.faults.len(), 1);
        let tiny: Options = "tiny,vram=2".parse().unwrap();
        assert_eq!((tiny.vram, tiny.bar, tiny.int64), (2, 0, false));
        let reorders = |text: &str| text.parse::<Options>().unwrap().reorder;
        assert!(reorders("reorder=yes,nvidia") && !reorders("reorder=yes,reorder=no"));
        assert!(ROWS.iter().all(|(row, _)| !reorders(row)));
    }

    #[test]
    fn all_rows_and_options_are_known() {
        for (row, _) in ROWS {
            row.parse::<Options>().unwrap_or_else(|error| panic!("{row}: {error}"));
        }
        for option in OPTIONS {
            let error = format!("{option}=?").parse::<Options>().map(drop);
            assert!(!error.is_err_and(|error| error.contains("the rows are")), "{option}");
        }
    }

    #[test]
    fn bad_words_are_errors_that_say_what_is_right() {
        for (text, says) in [
            ("", "the rows are lavapipe, "),
            ("nvidia,,shadow", "'': the rows are"),
            ("nvidea", "'nvidea': the rows are lavapipe, "),
            ("nvidia,shadow=perhaps", "'shadow=perhaps': its value is yes or no"),
            ("lavapipe,reorder", "'reorder': its value is yes or no"),
            ("watchdog=soon", "its value is a number"),
            ("import-alignment=5000", "a power of 2"),
            ("fail=submit", "KIND:n"),
            ("fail=submit:0", "from 1"),
            ("fail=everything:1", "its kinds are allocation, "),
            ("report=", "a path is missing"),
        ] {
            let error = text.parse::<Options>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
