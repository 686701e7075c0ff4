//! Asking before something is changed.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use super::Failure;

/// Whether the operator has agreed beforehand.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Consent {
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Says what will happen, and goes on only when the operator agrees. Without a terminal nobody can
    /// be asked: only `--yes` agrees.
    pub(super) fn ask(self, what: &str) -> Result<(), Failure> {
        eprintln!("{what}");
        if self.yes {
            return Ok(());
        }
        let unconfirmed = |why: &str| Failure::new(2, "NOT_CONFIRMED", &why);
        if !io::stdin().is_terminal() {
            return Err(unconfirmed(
                "nothing was done: there is no terminal to ask at; give --yes to agree",
            ));
        }
        eprint!("Go on? [y/N] ");
        let mut answer = String::new();
        let asked = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
        match asked {
            Ok(_) if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) => Ok(()),
            Ok(_) => Err(unconfirmed("nothing was done: you did not agree")),
            Err(error) => Err(unconfirmed(&format!("nothing was done: standard input: {error}"))),
        }
    }
}
