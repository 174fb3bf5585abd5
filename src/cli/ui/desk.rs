//! Questions to a person, one line each.

use std::io::BufRead;

use crate::cli::ui::Failure;

/// Questions on one side, answers on the other.
#[derive(Debug)]
pub struct Desk<R, S> {
    pub input: R,
    pub show: S,
    /// What is said when the answers end early.
    pub cancelled: &'static str,
}

impl<R: BufRead, S: Fn(&str)> Desk<R, S> {
    /// One line; the default when it is empty. The end of the input cancels.
    pub fn ask(&mut self, question: &str, default: &str) -> Result<String, Failure> {
        let hint = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        (self.show)(&format!("{question}{hint}"));
        let mut line = String::new();
        let read = self.input.read_line(&mut line)?;
        if read == 0 {
            return Err(Failure::new(self.cancelled));
        }
        let answer = line.trim();
        Ok(if answer.is_empty() { default } else { answer }.to_owned())
    }

    /// Anything but a yes is a no.
    pub fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        self.agree(question, "n")
    }

    /// As [`Desk::confirm`], with another default.
    pub fn agree(&mut self, question: &str, default: &str) -> Result<bool, Failure> {
        Ok(matches!(self.ask(question, default)?.to_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks until the answer is one of these.
    pub fn choose(
        &mut self,
        question: &str,
        choices: &[&str],
        default: &str,
    ) -> Result<String, Failure> {
        loop {
            let answer = self.ask(&format!("{question} ({})", choices.join(", ")), default)?;
            if choices.contains(&answer.as_str()) {
                return Ok(answer);
            }
        }
    }
}
