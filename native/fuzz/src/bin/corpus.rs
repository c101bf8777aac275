//! Writes the seeds of all targets to `corpus/`, where they are kept with the inputs that failed.

use std::path::Path;

fn main() -> std::io::Result<()> {
    for target in lockstep_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (index, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{index}")), seed)?;
        }
    }
    Ok(())
}
