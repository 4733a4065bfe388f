use std::process::ExitCode;

use lockgate::{
    cli::{self, Command},
    commands,
};

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli.command,
        Err(code) => return ExitCode::from(code),
    };
    match command {
        Command::Run(arguments) => commands::run::main(*arguments).into(),
        Command::Demo(arguments) => commands::demo::demo(&arguments).into(),
        Command::Check(arguments) => commands::check::run(&arguments),
        Command::Probe(arguments) => commands::probe::run(arguments.json),
        Command::Reload(arguments) => commands::remote::reload(&arguments),
        Command::Status(arguments) => commands::remote::status(&arguments),
        Command::Drain(arguments) => commands::remote::drain(&arguments),
        Command::Connections(arguments) => commands::remote::connections(&arguments),
        Command::Top(arguments) => commands::top::top(&arguments),
        Command::Pki(command) => commands::pki::run(&command),
    }
}
