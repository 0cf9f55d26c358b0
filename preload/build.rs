//! Linker settings of `libpyshm.so`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=startup.ld");
    // Every mapping and every page that the loader touches costs each process a microsecond or more, so code and
    // constants go into one segment.
    for arg in [
        "-Wl,--no-rosegment",
        // The start files bring constructors, symbols to look up and data that the shim has no use for.
        "-nostartfiles",
        // Relocated data begins on a page of its own.
        "-Wl,-z,separate-loadable-segments",
        "-Wl,-z,now",
        "-Wl,-z,relro",
        "-Wl,--as-needed",
        "-Wl,-soname,libpyshm.so",
        // Code that runs at every start lies together.
        concat!("-Wl,-T,", env!("CARGO_MANIFEST_DIR"), "/startup.ld"),
    ] {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}
