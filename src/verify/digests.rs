//! Computes the digests of many files with several threads, because a shared file system serves several readers faster
//! than one.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;

use crate::error::one_line;
use crate::verify::view::FileContent;

/// The most threads. More readers than this do not make one process faster.
const MOST_THREADS: usize = 8;

/// Reads each file and returns its content, in the order of `files`.
pub(super) fn of_files(files: &[PathBuf], bar: &ProgressBar) -> Vec<FileContent> {
    let threads =
        std::thread::available_parallelism().map_or(1, |n| n.get()).clamp(2, MOST_THREADS);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![FileContent::Elsewhere; files.len()]);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = vec![0; 1 << 20];
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = files.get(number) else { return };
                    let content = match digest(path, &mut buffer, bar) {
                        Ok(digest) => FileContent::Digest(digest),
                        Err(e) => {
                            FileContent::Damaged(format!("it cannot be read ({})", one_line(e)))
                        }
                    };
                    if let Ok(mut results) = results.lock() {
                        results[number] = content;
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_default()
}

fn digest(path: &Path, buffer: &mut [u8], bar: &ProgressBar) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hash = blake3::Hasher::new();
    loop {
        match file.read(buffer)? {
            0 => return Ok(*hash.finalize().as_bytes()),
            n => {
                hash.update(&buffer[..n]);
                bar.inc(n as u64);
            }
        }
    }
}
