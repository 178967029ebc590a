//! Compressed inputs are read as the tools of their formats read them: gzip and lz4 themselves, and
//! Python's gzip module, are the judges.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its input has failed")]

use std::fs;
use std::io::{Seek, Write};
use std::process::Command;

use farptr_samples::error::SampleError;
use farptr_samples::{graph_input, input};

const FIRST: &[u8] = b"1 2\n2 3\n";
const SECOND: &[u8] = b"3 4\n";

/// A tool's answer to some input: its output and whether it has no complaint. Nothing without the
/// tool, which CI has to have.
fn run(tool: &[&str], input: &[u8]) -> Option<(Vec<u8>, bool)> {
    // A file and no pipe: a tool that writes while it reads would wait for this process for ever.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    file.rewind().unwrap();
    match Command::new(tool[0]).args(&tool[1..]).stdin(file).output() {
        Ok(output) => Some((output.stdout, output.status.success())),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{} must run in CI: {error}", tool[0]);
            let line = format!("SKIP {}: {error}; './farptr test' installs it\n", tool[0]);
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

fn made_by(tool: &[&str], text: &[u8]) -> Option<Vec<u8>> {
    let (bytes, success) = run(tool, text)?;
    assert!(success, "{tool:?}");
    Some(bytes)
}

fn read(raw: &[u8]) -> Result<Vec<u8>, SampleError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    fs::write(&path, raw).unwrap();
    input::read_text(&path).map(String::into_bytes)
}

/// Reads what the judge reads, and refuses what it complains about.
fn as_judged(judge: &[&str], raw: &[u8], what: &str) {
    let Some((text, accepted)) = run(judge, raw) else { return };
    match read(raw) {
        Ok(found) => assert_eq!((found, true), (text, accepted), "{what}"),
        Err(error) => assert!(!accepted || text.is_empty(), "{what}: {error:?}"),
    }
}

/// A frame whose content is skipped.
fn skippable(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&0x184d_2a5bu32.to_le_bytes(), &length, content].concat()
}

#[test]
fn lz4_files_of_several_frames_are_read_whole() {
    const LZ4: &[&str] = &["lz4", "-d", "-c"];
    let options = [
        &["lz4", "-c"][..],
        &["lz4", "-c", "--no-frame-crc"],
        &["lz4", "-c", "-BX", "-B4"],
        &["lz4", "-c", "-BD", "-9"],
        &["lz4", "-c", "--content-size"],
        &["lz4", "-c", "-l"],
    ];
    for first in options {
        for second in options {
            let Some(one) = made_by(first, FIRST) else { return };
            let Some(two) = made_by(second, SECOND) else { return };
            let both = [&one[..], &two].concat();
            let what = format!("{first:?} and {second:?}");
            assert_eq!(read(&both).unwrap(), [FIRST, SECOND].concat(), "{what}");
            as_judged(LZ4, &both, &what);
            let between = [&skippable(b"a")[..], &one, &skippable(b""), &two, &skippable(b"bc")];
            assert_eq!(read(&between.concat()).unwrap(), [FIRST, SECOND].concat(), "{what}");
            as_judged(LZ4, &between.concat(), &what);
        }
    }
}

#[test]
fn lz4_files_that_are_cut_or_have_something_else_behind_are_refused() {
    let Some(one) = made_by(&["lz4", "-c"], FIRST) else { return };
    let Some(two) = made_by(&["lz4", "-c", "-BX"], SECOND) else { return };
    let both = [&one[..], &skippable(b"abc"), &two].concat();
    for cut in 8..both.len() {
        let at_a_border = cut == one.len() || cut == both.len() - two.len();
        assert_eq!(read(&both[..cut]).is_ok(), at_a_border, "cut at {cut}");
    }
    for behind in [&b"\0\0\0\0"[..], b"3 4\n", b"x", &one[..5]] {
        let raw = [&both[..], behind].concat();
        assert!(read(&raw).is_err(), "{behind:?}");
        as_judged(&["lz4", "-d", "-c"], &raw, "something behind");
    }
}

#[test]
fn large_lz4_frames_of_every_kind_are_read() {
    let text: Vec<u8> =
        (0..400_000u32).flat_map(|i| format!("{i} {}\n", i / 7).into_bytes()).collect();
    for options in [&["lz4", "-c", "-B4"][..], &["lz4", "-c", "-B4", "-BD"], &["lz4", "-c", "-l"]] {
        let Some(one) = made_by(options, &text) else { return };
        assert_eq!(read(&[&one[..], &one].concat()).unwrap(), text.repeat(2), "{options:?}");
    }
}

/// An empty block ends nothing: `lz4_flex` by itself stops there.
#[test]
fn an_empty_block_is_not_the_end_of_a_frame() {
    let Some(one) = made_by(&["lz4", "-c", "--no-frame-crc"], FIRST) else { return };
    let empty = (1u32 << 31).to_le_bytes();
    let raw = [&one[..7], &empty, &one[7..]].concat();
    assert_eq!(read(&raw).unwrap(), FIRST);
}

#[test]
fn frames_to_be_skipped_do_not_hide_another_compression() {
    let raw = [&skippable(b"pzstd")[..], b"\x28\xb5\x2f\xfdrest"].concat();
    let line = read(&raw).unwrap_err().one_line();
    assert!(line.contains("compressed with zstd, which is not read here"), "{line}");
    let many = skippable(b"").repeat(200_000);
    assert!(read(&many).unwrap_err().one_line().contains("the file is empty"));
}

#[test]
fn gzip_files_of_several_members_with_padding_are_read_whole() {
    let Some(one) = made_by(&["gzip", "-c"], FIRST) else { return };
    let Some(two) = made_by(&["gzip", "-c", "-9"], SECOND) else { return };
    for zeroes in [0, 1, 2, 511, 512, 10_240] {
        let raw = [&one[..], &two, &vec![0; zeroes]].concat();
        assert_eq!(read(&raw).unwrap(), [FIRST, SECOND].concat(), "{zeroes} zeroes");
        as_judged(&["gzip", "-d", "-c"], &raw, "zeroes");
        // Between members, where gzip itself stops with a warning, Python reads on.
        let raw = [&one[..], &vec![0; zeroes], &two].concat();
        assert_eq!(read(&raw).unwrap(), [FIRST, SECOND].concat(), "{zeroes} zeroes");
        let python =
            "import gzip, sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
        as_judged(&["python3", "-c", python], &raw, "zeroes between");
    }
    for behind in [&b"x"[..], b"\0\0x", b"\x1f\x8b", &one[..12]] {
        let raw = [&one[..], behind].concat();
        assert!(read(&raw).is_err(), "{behind:?}");
        as_judged(&["gzip", "-d", "-c"], &raw, "something behind");
    }
}

/// The reader of graphs, too, sees the edges of all frames.
#[test]
fn a_graph_of_several_frames_has_all_edges() {
    for tool in [["lz4", "-c"], ["gzip", "-c"]] {
        let (Some(one), Some(two)) = (made_by(&tool, FIRST), made_by(&tool, SECOND)) else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph");
        fs::write(&path, [one, two].concat()).unwrap();
        assert_eq!(graph_input::read(&path, false).unwrap().graph.edges(), 3, "{tool:?}");
    }
}
