//! Decodes a gzip file three times into blocks of KB kilobytes, in the same way as staging, and prints the times.
//! A feature chooses the decoder:
//!
//!     for backend in zlib-rs zlib-ng; do
//!         cargo run --release --features $backend --target-dir target/$backend -- FILE.gz [KB]
//!     done
use std::io::Read;

fn main() {
    let path = std::env::args().nth(1).expect("usage: inflate FILE.gz [KB]");
    let packed = std::fs::read(path).expect("the file is read");
    let size = std::env::args().nth(2).map_or(256, |kb| kb.parse().expect("kB of a block"));
    let mut block = vec![0; size << 10];
    for _ in 0..3 {
        let begun = std::time::Instant::now();
        let mut decoder = flate2::bufread::MultiGzDecoder::new(&packed[..]);
        let mut total = 0u64;
        loop {
            match decoder.read(&mut block).expect("the file is whole") {
                0 => break,
                n => total += n as u64,
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("{total} bytes in {seconds:.3} s, {:.0} MB/s", total as f64 / seconds / 1e6);
    }
}
