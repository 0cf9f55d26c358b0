fn main() {
    // As a shim has to: libgcc_s must not be among what it needs.
    println!("cargo:rustc-link-lib=static=gcc_eh");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--as-needed");
}
