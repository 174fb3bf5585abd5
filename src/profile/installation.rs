//! How this program came here, and who brings it up to date. It never replaces
//! itself.

use std::path::{Path, PathBuf};

/// What the Debian package brings along with the program, as policy wants it.
const DEBIAN: (&str, &str) = ("/usr/bin/openclaw", "/usr/share/doc/openclaw/copyright");

/// Who looks after the file of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub program: PathBuf,
    pub keeper: Keeper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// The Debian package.
    Apt,
    /// Some other package manager of the host.
    Host,
    /// Whoever put the file there.
    Person,
}

impl Installation {
    /// That of this process.
    pub fn of_this_program() -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        Self::of(program, Path::new(DEBIAN.1).exists())
    }

    fn of(program: PathBuf, has_debian_package: bool) -> Self {
        let keeper = if has_debian_package && program == Path::new(DEBIAN.0) {
            Keeper::Apt
        } else if ["/usr/bin", "/usr/lib", "/opt/homebrew", "/nix/store"]
            .iter()
            .any(|dir| program.starts_with(dir))
        {
            Keeper::Host
        } else {
            Keeper::Person
        };
        Self { program, keeper }
    }

    /// One word for scripts.
    pub fn mode(&self) -> &'static str {
        match self.keeper {
            Keeper::Apt | Keeper::Host => "package-manager",
            Keeper::Person => "unmanaged",
        }
    }

    pub fn package_manager(&self) -> &'static str {
        match self.keeper {
            Keeper::Apt => "apt",
            Keeper::Host | Keeper::Person => "unknown",
        }
    }

    /// How it is brought up to date, on one line.
    pub fn advice(&self) -> String {
        match self.keeper {
            Keeper::Apt => "sudo apt update && sudo apt install --only-upgrade openclaw".to_owned(),
            Keeper::Host => {
                "update the package openclaw with the package manager of this host".to_owned()
            }
            Keeper::Person => format!(
                "put the new binary in the place of {}, then: openclaw gateway restart",
                self.program.display()
            ),
        }
    }

    /// Why this program does not do it.
    pub fn reason(&self) -> &'static str {
        match self.keeper {
            Keeper::Apt | Keeper::Host => {
                "installed by the system's package manager; update it there"
            }
            Keeper::Person => {
                "this installation is not updated by the gateway; replace the binary and restart"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_updates_follows_from_where_the_program_is() {
        let of = |path: &str, packaged| Installation::of(path.into(), packaged).keeper;
        assert_eq!(of("/usr/bin/openclaw", true), Keeper::Apt);
        assert_eq!(of("/usr/bin/openclaw", false), Keeper::Host);
        assert_eq!(of("/usr/lib/openclaw/openclaw", true), Keeper::Host);
        assert_eq!(of("/usr/local/bin/openclaw", true), Keeper::Person);
    }
}
