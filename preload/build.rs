//! Sets the linker's options for `libpyshm.so`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=startup.ld");
    for arg in [
        // Puts code and constants into one segment, because every mapping and every page that the loader touches costs
        // each process a microsecond or more.
        "-Wl,--no-rosegment",
        // Leaves out the start files, which would add constructors, symbols and data that the shim does not need.
        "-nostartfiles",
        // Puts relocated data on a page of its own.
        "-Wl,-z,separate-loadable-segments",
        "-Wl,-z,now",
        "-Wl,-z,relro",
        "-Wl,--as-needed",
        "-Wl,-soname,libpyshm.so",
        // Puts the functions that run at every start next to each other.
        concat!("-Wl,-T,", env!("CARGO_MANIFEST_DIR"), "/startup.ld"),
    ] {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}
