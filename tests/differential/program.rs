//! Reads and writes the text of a program: the user who runs it, the tree before its first step, and its steps.
//!
//! ```text
//! # a description
//! kind lock                the kind that the program shows; while the kind is off, the program may differ
//! user ordinary            the user who runs the steps: root or ordinary (default: both, one after the other)
//! packer root              the user who packs the prefix (default: the one who runs the steps)
//! mode overlay             (default: snapshot)
//! prefix {M}/alias         the name by which the prefix is packed (default: {E}); each line packs one prefix
//! opened open s0 {E}/log WRONLY|APPEND|CREAT 644
//!                          a step of the process that starts the program, before the start
//! tree
//! dir {E}/d 755 user       the tree; see `tree`
//! steps
//! unlink {E}/d/b           the steps; see `steps/`
//! ```

use std::fmt;

/// The user who runs the steps or packs the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    Root,
    Ordinary,
}

impl User {
    fn named(name: &str) -> Option<Self> {
        match name {
            "root" => Some(Self::Root),
            "ordinary" => Some(Self::Ordinary),
            _ => None,
        }
    }

    /// The word for it in a program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Ordinary => "ordinary",
        }
    }
}

/// The mode of the prefix: the meaning of a name that the bundle does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Snapshot,
    Overlay,
}

impl Mode {
    /// The word for it in a program and on pyshm's command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Overlay => "overlay",
        }
    }
}

/// A program, as the module documentation describes it.
#[derive(Debug, Clone)]
pub struct Program {
    pub notes: Vec<String>,
    pub kind: Option<String>,
    pub user: Option<User>,
    pub packer: Option<User>,
    pub mode: Mode,
    pub prefixes: Vec<String>,
    pub opened: Vec<String>,
    pub tree: Vec<String>,
    pub steps: Vec<String>,
}

impl Program {
    /// A program without steps.
    pub fn new(user: User, packer: User, mode: Mode, tree: Vec<String>) -> Self {
        let (notes, steps) = (Vec::new(), Vec::new());
        let prefixes = vec!["{E}".to_string()];
        Self {
            notes,
            kind: None,
            user: Some(user),
            packer: Some(packer),
            mode,
            prefixes,
            opened: Vec::new(),
            tree,
            steps,
        }
    }

    /// Reads a program's text. Fails at a line that is not understood, and names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut program = Self {
            notes: Vec::new(),
            kind: None,
            user: None,
            packer: None,
            mode: Mode::Snapshot,
            prefixes: Vec::new(),
            opened: Vec::new(),
            tree: Vec::new(),
            steps: Vec::new(),
        };
        let mut part = "head";
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            match (part, line.split_once(' ').unwrap_or((line, ""))) {
                (_, ("#", note)) => program.notes.push(note.to_string()),
                ("head", ("kind", name)) => program.kind = Some(name.to_string()),
                ("head", ("user", name)) => {
                    program.user = Some(User::named(name).ok_or(line)?);
                }
                ("head", ("packer", name)) => {
                    program.packer = Some(User::named(name).ok_or(line)?);
                }
                ("head", ("prefix", name)) => program.prefixes.push(name.to_string()),
                ("head", ("opened", step)) => program.opened.push(step.to_string()),
                ("head", ("mode", "overlay")) => program.mode = Mode::Overlay,
                ("head", ("mode", "snapshot")) => program.mode = Mode::Snapshot,
                ("head", ("tree", "")) => part = "tree",
                (_, ("steps", "")) => part = "steps",
                ("tree", _) => program.tree.push(line.to_string()),
                ("steps", _) => program.steps.push(line.to_string()),
                _ => return Err(format!("failed to understand {line:?}")),
            }
        }
        if program.prefixes.is_empty() {
            program.prefixes.push("{E}".into());
        }
        Ok(program)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "# {note}")?;
        }
        if let Some(kind) = &self.kind {
            writeln!(f, "kind {kind}")?;
        }
        if let Some(user) = self.user {
            writeln!(f, "user {}", user.name())?;
        }
        if let Some(packer) = self.packer.filter(|packer| Some(*packer) != self.user) {
            writeln!(f, "packer {}", packer.name())?;
        }
        if self.mode == Mode::Overlay {
            writeln!(f, "mode overlay")?;
        }
        for prefix in self.prefixes.iter().filter(|_| self.prefixes != ["{E}"]) {
            writeln!(f, "prefix {prefix}")?;
        }
        for step in &self.opened {
            writeln!(f, "opened {step}")?;
        }
        writeln!(f, "tree")?;
        for line in &self.tree {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "steps")?;
        for line in &self.steps {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
