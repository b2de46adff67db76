//! The command `strata-encoder`; everything is in the library.

fn main() -> std::process::ExitCode {
    strata_encoder::main()
}
