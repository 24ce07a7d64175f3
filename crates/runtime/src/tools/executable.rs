//! What kind of program a file is, and with what the kernel would start it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The longest first line of a script that the kernel reads (`execve(2)`).
const LONGEST_LINE: usize = 255;
/// More program headers than any real file has.
const MOST_HEADERS: usize = 256;

/// A file that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A binary, with the loader that it names.
    Binary {
        /// `None` when it is linked statically.
        loader: Option<PathBuf>,
    },
    /// A script: its interpreter and at most one argument, as the kernel would split them.
    Script {
        /// As it stands there.
        interpreter: String,
        /// The rest of the line.
        argument: Option<String>,
    },
}

/// Looks at the beginning of a file; leaves the position somewhere. What isn't recognised is taken for
/// a binary without a loader: the kernel has the last word about it.
pub(super) fn form(file: &mut File) -> std::io::Result<Form> {
    file.seek(SeekFrom::Start(0))?;
    let mut first = Vec::new();
    file.by_ref().take(LONGEST_LINE as u64 + 1).read_to_end(&mut first)?;
    if let Some(line) = first.strip_prefix(b"#!") {
        return Ok(script(line).unwrap_or(Form::Binary { loader: None }));
    }
    Ok(Form::Binary { loader: loader(file, &first)? })
}

fn script(line: &[u8]) -> Option<Form> {
    let end = line.iter().position(|&byte| byte == b'\n').unwrap_or(line.len());
    let text = std::str::from_utf8(line.get(..end)?).ok()?;
    let text = text.trim_matches([' ', '\t']);
    let (interpreter, argument) = match text.split_once([' ', '\t']) {
        Some((interpreter, rest)) => (interpreter, rest.trim_start_matches([' ', '\t'])),
        None => (text, ""),
    };
    let argument = (!argument.is_empty()).then(|| argument.to_owned());
    (!interpreter.is_empty())
        .then(|| Form::Script { interpreter: interpreter.to_owned(), argument })
}

/// The path in the `PT_INTERP` header of an ELF file (`elf(5)`), 64-bit and little-endian as both
/// processors that this runs on are.
fn loader(file: &mut File, head: &[u8]) -> std::io::Result<Option<PathBuf>> {
    const PT_INTERP: u32 = 3;
    let number = |bytes: &[u8], at: usize, size: usize| -> Option<u64> {
        let slice = bytes.get(at..at.checked_add(size)?)?;
        Some(slice.iter().rev().fold(0, |all, &byte| (all << 8) | u64::from(byte)))
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let (Some(offset), Some(size), Some(count)) =
        (number(head, 32, 8), number(head, 54, 2), number(head, 56, 2))
    else {
        return Ok(None);
    };
    let count = usize::try_from(count).unwrap_or(0).min(MOST_HEADERS);
    for index in 0..count as u64 {
        let Some(at) = offset.checked_add(index * size) else { break };
        let mut header = [0; 56];
        // A place beyond every file is no header either.
        if file.seek(SeekFrom::Start(at)).is_err() || file.read_exact(&mut header).is_err() {
            break;
        }
        if number(&header, 0, 4) != Some(u64::from(PT_INTERP)) {
            continue;
        }
        let (Some(at), Some(length)) = (number(&header, 8, 8), number(&header, 32, 8)) else {
            break;
        };
        let mut path = Vec::new();
        if file.seek(SeekFrom::Start(at)).is_err() {
            break;
        }
        file.by_ref().take(length.min(4096)).read_to_end(&mut path)?;
        while path.last() == Some(&0) {
            path.pop();
        }
        return Ok(Some(PathBuf::from(std::ffi::OsString::from_vec(path))));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn of(content: &[u8]) -> Form {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        form(&mut file).unwrap()
    }

    #[test]
    fn the_first_line_of_a_script_is_split_as_the_kernel_does() {
        let script = |interpreter: &str, argument: Option<&str>| Form::Script {
            interpreter: interpreter.to_owned(),
            argument: argument.map(ToOwned::to_owned),
        };
        assert_eq!(of(b"#!/bin/sh\necho"), script("/bin/sh", None));
        assert_eq!(
            of(b"#! /usr/bin/env  python3 -u \n"),
            script("/usr/bin/env", Some("python3 -u"))
        );
        assert_eq!(of(b"#!/bin/sh -e x"), script("/bin/sh", Some("-e x")));
        for odd in [&b"#!\n"[..], b"#!  ", b"", b"x", b"\x7fELF", b"\x7fELF\x02\x01"] {
            assert_eq!(of(odd), Form::Binary { loader: None });
        }
    }

    #[test]
    fn a_real_binary_names_its_loader() {
        let mut file = File::open("/proc/self/exe").unwrap();
        let Form::Binary { loader: Some(loader) } = form(&mut file).unwrap() else {
            panic!("this test is linked dynamically");
        };
        assert!(loader.to_string_lossy().contains("ld-linux"), "{loader:?}");
    }

    #[test]
    fn a_hostile_header_ends_without_a_panic() {
        let mut head = vec![0xff; 200];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(of(&head), Form::Binary { loader: None });
        head[32..40].copy_from_slice(&64_u64.to_le_bytes());
        head[64..68].copy_from_slice(&3_u32.to_le_bytes());
        let _ = of(&head);
    }
}
