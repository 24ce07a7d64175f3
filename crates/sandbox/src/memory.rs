//! How much memory all processes of a namespace hold, as the kernel counts it for each (`proc(5)`).
//!
//! Memory that belongs to files is not counted: it is given back when it is needed, or lies in a private
//! directory, whose size is limited.

use std::fs;

/// The bytes that all processes hold in private memory and in memory that they share with each other.
/// `None` when that can't be told, which a program could bring about that wants not to be looked at.
pub(crate) fn held() -> Option<u64> {
    let mut sum = 0_u64;
    for entry in fs::read_dir("/proc").ok()? {
        let name = entry.ok()?.file_name();
        let Some(process) = name.to_str().filter(|name| is_number(name)) else { continue };
        // Whoever has ended since then holds nothing any more.
        let Ok(mut status) = read(&format!("/proc/{process}/status"))? else { continue };
        if field(&status, "RssAnon:").is_none() {
            // A process whose first thread has ended shows no memory while the others hold it.
            let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for thread in threads.flatten() {
                match read(&format!("{}/status", thread.path().display()))? {
                    Ok(other) if field(&other, "RssAnon:").is_some() => {
                        status = other;
                        break;
                    }
                    _ => {}
                }
            }
        }
        let (private, shared) = resident(&status);
        // What is shared by many counts once, by each one's share of it; that takes the kernel a walk
        // through all pages, so that it is asked only where it matters.
        let shared = match shared > LITTLE {
            true => match read(&format!("/proc/{process}/smaps_rollup"))? {
                Ok(rollup) => field(&rollup, "Pss_Shmem:").unwrap_or(shared),
                Err(_) => shared,
            },
            false => shared,
        };
        sum = sum.saturating_add(private).saturating_add(shared);
    }
    Some(sum)
}

/// Shared memory below this is not worth a closer look, in bytes.
const LITTLE: u64 = 1 << 20;

/// The content; `Err` when the process has ended, `None` when nothing can be opened at all.
fn read(path: &str) -> Option<Result<String, ()>> {
    match fs::read_to_string(path) {
        Ok(text) => Some(Ok(text)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => None,
        Err(_) => Some(Err(())),
    }
}

/// What is private and what is shared without a file (`proc_pid_status(5)`), in bytes.
fn resident(status: &str) -> (u64, u64) {
    let of = |name| field(status, name).unwrap_or(0);
    (of("RssAnon:"), of("RssShmem:"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_memory_are_counted() {
        let status =
            "Name:\tx RssAnon: 1 kB\nRssAnon:\t     12 kB\nRssFile:\t 9 kB\nRssShmem:\t 3 kB\n";
        assert_eq!(resident(status), (12 << 10, 3 << 10));
        assert_eq!(resident("RssAnon:\tmuch\n"), (0, 0));
        assert!(held().unwrap() > 0);
    }
}
