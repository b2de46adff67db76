//! Checks that the player library was fetched, so that a missing one is one clear sentence instead of a macro's error.

use std::path::Path;

const NEEDED: [&str; 2] = ["dist/hls.light.min.js", "dist/hls.worker.js"];

fn main() {
    for file in NEEDED {
        println!("cargo::rerun-if-changed={file}");
        if !Path::new(file).is_file() {
            println!(
                "cargo::error=web/strata-web/{file} is missing: run ./dev setup \
                 (it runs `npm ci && npm run build` in web/strata-web)"
            );
        }
    }
    println!("cargo::rerun-if-changed=assets");
}
