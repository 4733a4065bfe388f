use std::process::ExitCode;

use lockgate::{
    cli::{self, Command},
    commands,
};

fn main() -> ExitCode {
    let code = match cli::parse(std::env::args_os()) {
        Ok(cli) => match cli.command {
            Command::Run(arguments) => commands::run::main(&arguments),
            Command::Demo(arguments) => commands::demo::demo(&arguments),
            Command::Check(arguments) => commands::check::run(&arguments),
            Command::Probe(arguments) => commands::probe::run(arguments.json),
            Command::Pki(command) => commands::pki::run(&command),
        },
        Err(code) => code,
    };
    ExitCode::from(code)
}
