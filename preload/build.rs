//! Sets the linker's options for `libpyshm.so`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=startup.ld");
    // Code and constants go into one segment, because every mapping and every page that the loader touches costs each
    // process a microsecond or more.
    for arg in [
        "-Wl,--no-rosegment",
        // The start files would add constructors, symbols and data that the shim does not need.
        "-nostartfiles",
        // Puts relocated data on a page of its own.
        "-Wl,-z,separate-loadable-segments",
        "-Wl,-z,now",
        "-Wl,-z,relro",
        "-Wl,--as-needed",
        "-Wl,-soname,libpyshm.so",
        // Puts the code that runs at every start together.
        concat!("-Wl,-T,", env!("CARGO_MANIFEST_DIR"), "/startup.ld"),
    ] {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}
