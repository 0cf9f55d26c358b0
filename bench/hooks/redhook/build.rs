fn main() {
    // A shim must not need libgcc_s.
    println!("cargo:rustc-link-lib=static=gcc_eh");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--as-needed");
}
