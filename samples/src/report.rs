//! The report of a run: the JSON object of `--json` and the table for a person.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// One run of a sample. Zero stands where nothing applies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The sample's name.
    pub sample: String,
    /// The device's name.
    pub device: String,
    /// The driver's name and version.
    pub driver: String,
    /// How kernels reached host memory: `direct` or `mirrored`.
    pub access: String,
    /// The residency tier, `none` in direct access.
    pub tier: String,
    /// Whether every result agreed with the reference.
    pub verified: bool,
    /// The largest relative error against the reference.
    pub max_rel_error: f64,
    /// The input of the sample.
    pub input: Input,
    /// How many kernels were launched.
    pub launches: u64,
    /// How many rounds the launches took.
    pub rounds: u64,
    /// Faults during the launches.
    pub faults: Faults,
    /// Pages moved or mapped for the device.
    pub pages: Pages,
    /// How many ranges lost their device mapping because the host's changed.
    pub invalidations: u64,
    /// Bytes copied.
    pub bytes: Bytes,
    /// The time of each part.
    pub seconds: Seconds,
    /// The time of each kernel on the device; absent unless `--times` asked for it, and where the
    /// device has no timestamps.
    pub kernel_times: Option<Vec<KernelTime>>,
}

/// The input of a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The file, or what was generated.
    pub name: String,
    /// Rows of the matrix, or vertices.
    pub rows: u64,
    /// Columns of the matrix, or vertices.
    pub cols: u64,
    /// Entries of the matrix, or edges.
    pub entries: u64,
}

/// Faults during launches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Taken by the device: accesses that missed a page.
    pub device: u64,
    /// Taken by the host.
    pub host: u64,
}

/// Pages moved or mapped for the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Moved to the device.
    pub migrated_in: u64,
    /// Moved back home.
    pub migrated_home: u64,
    /// Copied in part, because the rest of the page is not lent.
    pub bounced: u64,
    /// Mapped into the device where they lie.
    pub imported: u64,
}

/// Bytes copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// From the host to the device.
    pub to_device: u64,
    /// From the device to the host.
    pub to_host: u64,
}

/// Wall-clock time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Reading or generating the input.
    pub load: f64,
    /// From the first launch to the last result.
    pub launch: f64,
    /// The whole run.
    pub total: f64,
}

/// The time of a kernel on the device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelTime {
    /// The kernel's name.
    pub kernel: String,
    /// How often it was launched.
    pub launches: u64,
    /// All launches.
    pub seconds: f64,
    /// The longest launch.
    pub longest_seconds: f64,
    /// The part of all launches in rounds that were undone.
    pub undone_seconds: f64,
}

/// The lines of a run's table.
const COLUMNS: usize = 11;
const HEADINGS: [&str; COLUMNS] = [
    "sample", "input", "rows", "entries", "access", "launches", "rounds", "faults", "seconds",
    "error", "verified",
];

/// The widest input name that a table shows whole.
const NAME_COLUMNS: usize = 22;

/// Prints reports as one table, a line for each, with the times of kernels and the devices below
/// it.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let mut lines = vec![HEADINGS.map(String::from)];
    lines.extend(reports.iter().map(cells));
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| lines.iter().map(|line| width(&line[column])).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        text += &aligned(line, &widths);
        if number == 0 {
            text += &aligned(&HEADINGS.map(|_| String::new()), &widths).replace(' ', "-");
        }
    }
    text + &times(reports) + &devices(reports)
}

/// The times of kernels, a line for each kernel of each sample.
fn times(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        for time in report.kernel_times.iter().flatten() {
            let KernelTime { kernel, seconds, longest_seconds, undone_seconds, .. } = time;
            writeln!(
                text,
                "kernel: {}: {kernel}: {} launches, {seconds:.6} s on the device, the longest \
                 {longest_seconds:.6} s, in undone rounds {undone_seconds:.6} s",
                report.sample,
                grouped(time.launches),
            )
            .expect("a string takes every line");
        }
    }
    text
}

fn cells(report: &Report) -> [String; COLUMNS] {
    [
        report.sample.clone(),
        shortened(&report.input.name),
        grouped(report.input.rows),
        grouped(report.input.entries),
        report.access.clone(),
        grouped(report.launches),
        grouped(report.rounds),
        grouped(report.faults.device),
        format!("{:.3}", report.seconds.launch),
        format!("{:.1e}", report.max_rel_error),
        if report.verified { "yes" } else { "NO" }.into(),
    ]
}

/// One line: names to the left, numbers to the right.
fn aligned(line: &[String; COLUMNS], widths: &[usize]) -> String {
    let mut text = String::new();
    for (column, (cell, &columns)) in line.iter().zip(widths).enumerate() {
        let gap = " ".repeat(columns - width(cell));
        let left = matches!(column, 0 | 1 | 4 | 10);
        let (before, after) = if left { ("", gap.as_str()) } else { (gap.as_str(), "") };
        let space = if column == 0 { "" } else { "  " };
        text += &[space, before, cell.as_str(), after].concat();
    }
    let end = if line.iter().all(String::is_empty) { text.len() } else { text.trim_end().len() };
    text.truncate(end);
    text + "\n"
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// The end of a name that is too long: of a path, the file.
fn shortened(name: &str) -> String {
    let excess = width(name).saturating_sub(NAME_COLUMNS);
    if excess == 0 {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(excess + 2).collect();
    format!("..{tail}")
}

/// A number with a separator at every third digit.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Each device with the samples that ran on it.
fn devices(reports: &[Report]) -> String {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut text = String::new();
    for report in reports {
        let device = (report.device.as_str(), report.driver.as_str());
        if !seen.contains(&device) {
            seen.push(device);
            writeln!(text, "device: {} ({})", device.0, device.1)
                .expect("a string takes every line");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports() -> [Report; 2] {
        let spmv = Report {
            sample: "spmv".into(),
            device: "llvmpipe (LLVM 15.0.6, 256 bits)".into(),
            driver: "llvmpipe, Mesa 22.3.6".into(),
            access: "direct".into(),
            tier: "none".into(),
            verified: true,
            max_rel_error: 1.25e-7,
            input: Input { name: "debian".into(), rows: 65_123, cols: 65_123, entries: 402_345 },
            launches: 1234,
            seconds: Seconds { load: 0.5, launch: 1.25, total: 2.0 },
            ..Report::default()
        };
        let name = "/home/someone/graphs/very-large-social-network.txt.gz".into();
        let walk = Report {
            sample: "graph-walk".into(),
            verified: false,
            max_rel_error: 0.0,
            input: Input { name, rows: 7, cols: 7, entries: 12 },
            launches: 3,
            ..spmv.clone()
        };
        [spmv, walk]
    }

    #[test]
    fn the_json_object_is_the_fixed_one() {
        let expected = concat!(
            r#"{"sample":"spmv","device":"llvmpipe (LLVM 15.0.6, 256 bits)","#,
            r#""driver":"llvmpipe, Mesa 22.3.6","access":"direct","tier":"none","#,
            r#""verified":true,"max_rel_error":1.25e-7,"#,
            r#""input":{"name":"debian","rows":65123,"cols":65123,"entries":402345},"#,
            r#""launches":1234,"rounds":0,"faults":{"device":0,"host":0},"#,
            r#""pages":{"migrated_in":0,"migrated_home":0,"bounced":0,"imported":0},"#,
            r#""invalidations":0,"bytes":{"to_device":0,"to_host":0},"#,
            r#""seconds":{"load":0.5,"launch":1.25,"total":2.0},"kernel_times":null}"#
        );
        let [report, _] = reports();
        assert_eq!(serde_json::to_string(&report).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Report>(expected).unwrap(), report);
    }

    #[test]
    fn the_table_is_aligned() {
        let expected = [
            "sample      input                     rows  entries  access  launches  rounds",
            "  faults  seconds   error  verified\n",
            &"-".repeat(112),
            "\nspmv        debian                  65,123  402,345  direct     1,234       0",
            "       0    1.250  1.2e-7  yes\n",
            "graph-walk  ..ocial-network.txt.gz       7       12  direct         3       0",
            "       0    1.250   0.0e0  NO\n",
            "device: llvmpipe (LLVM 15.0.6, 256 bits) (llvmpipe, Mesa 22.3.6)\n",
        ]
        .concat();
        assert_eq!(table(&reports()), expected);
    }

    #[test]
    fn times_of_kernels_follow_the_table() {
        let [mut report, _] = reports();
        report.kernel_times = Some(vec![KernelTime {
            kernel: "dot".into(),
            launches: 1000,
            seconds: 0.25,
            longest_seconds: 0.001,
            undone_seconds: 0.0,
        }]);
        let line = "\nkernel: spmv: dot: 1,000 launches, 0.250000 s on the device, the longest \
                    0.001000 s, in undone rounds 0.000000 s\ndevice: ";
        assert!(table(std::slice::from_ref(&report)).contains(line));
        let json = serde_json::to_string(&report).unwrap();
        let times = concat!(
            r#""kernel_times":[{"kernel":"dot","launches":1000,"seconds":0.25,"#,
            r#""longest_seconds":0.001,"undone_seconds":0.0}]}"#
        );
        assert!(json.ends_with(times), "{json}");
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn an_empty_table_has_its_headings() {
        assert_eq!(table(&[]).lines().count(), 2);
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
