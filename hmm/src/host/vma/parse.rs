//! The text form of the address space, `/proc/<pid>/maps`.
//!
//! A line is `start-end perms offset major:minor inode`, then padding and a name that may contain
//! anything, spaces included. The kernel writes a line feed in a name as `\012` and leaves every
//! other byte alone, so a name that really contains the four characters `\012` comes back with a
//! line feed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::str;

use super::{Device, Vma, VmaFlags};
use crate::addr::{VaRange, VirtAddr};
use crate::error::ParseMapsError;

/// Parses the text of `/proc/<pid>/maps` into areas, in the order of the text.
///
/// Lines about addresses past [`VaRange::LIMIT`] are left out: the kernel lists its own page
/// `[vsyscall]` there, which is not part of the process's address space.
///
/// # Examples
///
/// ```
/// use farptr_hmm::parse_maps;
///
/// let text = b"7f0000000000-7f0000003000 rw-p 00001000 fe:00 42    /tmp/a file\n";
/// let vmas = parse_maps(text)?;
/// assert_eq!(vmas[0].range.len_bytes(), 0x3000);
/// assert_eq!(vmas[0].path().and_then(|path| path.to_str()), Some("/tmp/a file"));
/// # Ok::<(), farptr_hmm::ParseMapsError>(())
/// ```
///
/// # Errors
///
/// - [`ParseMapsError`] with the first line that does not have the expected form.
pub fn parse_maps(text: &[u8]) -> Result<Vec<Vma>, ParseMapsError> {
    let mut vmas = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if !line.is_empty() {
            let parsed = parse_line(line).ok_or_else(|| ParseMapsError::new(index + 1, line))?;
            vmas.extend(parsed);
        }
    }
    Ok(vmas)
}

/// Parses one line: `None` if it is malformed, `Some(None)` if it lies outside user space.
fn parse_line(line: &[u8]) -> Option<Option<Vma>> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let (start, end) = parse_pair(fields.next()?, '-')?;
    let flags = parse_flags(fields.next()?)?;
    let offset_bytes = parse_hex(str::from_utf8(fields.next()?).ok()?)?;
    let (major, minor) = parse_pair(fields.next()?, ':')?;
    let device = Device { major: major.try_into().ok()?, minor: minor.try_into().ok()? };
    let inode = parse_decimal(fields.next()?)?;
    let name = parse_name(fields.next().unwrap_or_default());
    if start > end {
        return None;
    }
    let range = VaRange::new(VirtAddr::new(start), VirtAddr::new(end));
    Some(range.map(|range| Vma { range, flags, offset_bytes, device, inode, name }))
}

fn parse_pair(field: &[u8], separator: char) -> Option<(u64, u64)> {
    let (left, right) = str::from_utf8(field).ok()?.split_once(separator)?;
    Some((parse_hex(left)?, parse_hex(right)?))
}

/// Parses hexadecimal digits and nothing else: `from_str_radix` alone would accept a sign.
fn parse_hex(digits: &str) -> Option<u64> {
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    only_digits.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn parse_decimal(digits: &[u8]) -> Option<u64> {
    let only_digits = digits.iter().all(u8::is_ascii_digit);
    only_digits.then(|| str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

fn parse_flags(field: &[u8]) -> Option<VmaFlags> {
    let &[read, write, execute, shared] = field else {
        return None;
    };
    Some(VmaFlags {
        read: parse_flag(read, b'r', b'-')?,
        write: parse_flag(write, b'w', b'-')?,
        execute: parse_flag(execute, b'x', b'-')?,
        shared: parse_flag(shared, b's', b'p')?,
    })
}

fn parse_flag(letter: u8, set: u8, clear: u8) -> Option<bool> {
    (letter == set || letter == clear).then_some(letter == set)
}

fn parse_name(field: &[u8]) -> Option<OsString> {
    let padding = field.iter().take_while(|&&byte| byte == b' ').count();
    let name = &field[padding..];
    (!name.is_empty()).then(|| OsString::from_vec(unescape(name)))
}

fn unescape(name: &[u8]) -> Vec<u8> {
    const LINE_FEED: &[u8] = br"\012";
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(LINE_FEED) {
            bytes.push(b'\n');
            rest = tail;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    /// Writes an area the way the kernel does.
    fn format_line(vma: &Vma) -> Vec<u8> {
        let mut line = format!(
            "{:08x}-{:08x} {} {:08x} {} {} ",
            vma.range.start().get(),
            vma.range.end().get(),
            vma.flags,
            vma.offset_bytes,
            vma.device,
            vma.inode,
        )
        .into_bytes();
        if let Some(name) = &vma.name {
            line.resize(line.len().max(72), b' ');
            line.push(b' ');
            for &byte in name.as_bytes() {
                if byte == b'\n' {
                    line.extend_from_slice(br"\012");
                } else {
                    line.push(byte);
                }
            }
        }
        line.push(b'\n');
        line
    }

    fn name() -> impl Strategy<Value = Option<OsString>> {
        let path = prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| {
            let tail = bytes.into_iter().filter(|&byte| byte != b'\\' && byte != 0);
            Some(OsString::from_vec(std::iter::once(b'/').chain(tail).collect()))
        });
        const KNOWN: [&str; 6] =
            ["[heap]", "[stack]", "[vdso]", "[anon:my arena]", "/a b (deleted)", "/c  d "];
        prop_oneof![
            Just(None),
            path,
            prop::sample::select(&KNOWN[..]).prop_map(|name| Some(OsString::from(name))),
        ]
    }

    prop_compose! {
        fn any_vma()(
            first in 0u64..1 << 50,
            pages in 0u64..1 << 10,
            flags: [bool; 4],
            offset_bytes: u64,
            major: u32,
            minor: u32,
            inode: u64,
            name in name(),
        ) -> Vma {
            let [read, write, execute, shared] = flags;
            Vma {
                range: VaRange::from_len(VirtAddr::new(first << 12), pages << 12).unwrap(),
                flags: VmaFlags { read, write, execute, shared },
                offset_bytes,
                device: Device { major, minor },
                inode,
                name,
            }
        }
    }

    proptest! {
        #[test]
        fn parsing_inverts_formatting(vmas in prop::collection::vec(any_vma(), 0..8)) {
            let text: Vec<u8> = vmas.iter().flat_map(format_line).collect();
            prop_assert_eq!(parse_maps(&text).unwrap(), vmas);
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_maps(&text);
        }

        #[test]
        fn a_damaged_line_is_an_error_or_another_area(
            vma in any_vma(), at in 0usize..40, byte: u8,
        ) {
            let mut line = format_line(&vma);
            line[at] = byte;
            let _ = parse_maps(&line);
        }
    }

    #[test]
    fn the_kernels_own_page_is_left_out() {
        let text = b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0    [vsyscall]\n";
        assert_eq!(parse_maps(text).unwrap(), []);
    }

    #[test]
    fn a_malformed_line_is_named() {
        let text = b"00001000-00002000 rw-p 00000000 00:00 0 \nnonsense\n";
        let error = parse_maps(text).unwrap_err();
        assert_eq!(error.line_number(), 2);
        assert!(error.to_string().contains("nonsense"), "{error}");
    }

    #[test]
    fn near_misses_are_refused() {
        for line in [
            "2000-1000 rw-p 0 00:00 0",
            "+1000-2000 rw-p 0 00:00 0",
            "1000-2000 rwxq 0 00:00 0",
            "1000-2000 rw-ps 0 00:00 0",
            "1000-2000 rw-p 0 0000 0",
            "1000-2000 rw-p 0 00:00 -1",
            "1000-2000 rw-p 0 00:00",
            "1000 rw-p 0 00:00 0",
            "1000-2000 rw-p 0 100000000:00 0",
            "- rw-p 0 00:00 0",
        ] {
            assert!(parse_maps(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn the_last_line_needs_no_line_feed() {
        assert_eq!(parse_maps(b"1000-2000 rw-p 0 00:00 0").unwrap().len(), 1);
        assert_eq!(parse_maps(b"").unwrap(), []);
    }
}
