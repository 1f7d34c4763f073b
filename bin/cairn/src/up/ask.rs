//! Questions to a person: a suggestion, Enter to take it.

use anyhow::Result;
use std::io::{BufRead, IsTerminal};

use crate::output::{Failure, Out};

/// Most tries at one question.
const TRIES: usize = 5;

/// Who answers.
pub enum Ask {
    /// Suggestions are taken.
    Nobody,
    /// A person at the keyboard.
    Person(Out),
}

impl Ask {
    /// As the command line says. Without a terminal and without `--yes` nothing is assumed.
    pub fn new(yes: bool, out: Out) -> Result<Self> {
        if yes {
            return Ok(Self::Nobody);
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::new(
                "up.questions",
                "there are questions and nobody at the keyboard to answer them",
                "run it in a terminal, or with --yes to take what is suggested",
            ));
        }
        Ok(Self::Person(out))
    }

    /// Asks until the answer can be read. `given` on the command line answers without asking.
    pub fn ask<T>(
        &self,
        question: &str,
        given: Option<String>,
        suggestion: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T> {
        let bad = |cause: String| Failure::new("up.answer", cause, "give another value");
        if let Some(given) = given {
            return read(&given).map_err(bad);
        }
        let Self::Person(out) = self else { return read(suggestion).map_err(bad) };
        for _ in 0..TRIES {
            out.say(format!("{question} [{suggestion}]"));
            let mut line = String::new();
            if std::io::stdin().lock().read_line(&mut line)? == 0 {
                break;
            }
            let typed = line.trim();
            match read(if typed.is_empty() { suggestion } else { typed }) {
                Ok(value) => return Ok(value),
                Err(cause) => out.say(format!("  {cause}")),
            }
        }
        Err(bad(format!("no usable answer to: {question}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_not_asked_and_nobody_takes_suggestions() {
        let read = |t: &str| t.parse::<u64>().map_err(|_| format!("{t:?} is no number"));
        assert_eq!(Ask::Nobody.ask("how many?", None, "7", read).unwrap(), 7);
        assert_eq!(Ask::Nobody.ask("how many?", Some("9".into()), "7", read).unwrap(), 9);
        let error = Ask::Nobody.ask("how many?", Some("x".into()), "7", read).unwrap_err();
        assert!(error.to_string().contains("no number"));
    }
}
