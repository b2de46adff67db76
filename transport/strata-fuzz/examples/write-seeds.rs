//! Writes the seeds that the project's own encoders make: `cargo run -p strata-fuzz --example write-seeds`

use std::path::Path;

fn main() -> std::io::Result<()> {
    for (target, name, bytes) in strata_fuzz::seeds::all() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
