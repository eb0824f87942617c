"""Instructions with their variables put in, each where Docker's reference says that it has some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.build.containerfile import expand, model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootless.build.containerfile.model import Heredoc, Instruction


class Expander:
    """Puts ``variables`` into instructions of a file whose escape character is ``escape``."""

    def __init__(self, variables: Mapping[str, str], escape: str) -> None:
        self._variables = variables
        self._escape = escape

    def instruction(self, step: Instruction) -> Instruction:
        """The instruction as it is executed. Raises ContainerfileError for a text that has no meaning."""
        try:
            return self._expanded(step)
        except expand.ExpansionError as error:
            raise step.origin.error(str(error)) from None

    def word(self, text: str) -> str:
        """A text. Raises ExpansionError."""
        return expand.word(text, self._variables, self._escape)

    def _expanded(self, step: Instruction) -> Instruction:
        if isinstance(step, model.Copy):
            return step._replace(
                sources=self._each(step.sources), documents=self._documents(step.documents),
                destination=self.word(step.destination), from_=self.word(step.from_), chown=self.word(step.chown),
                chmod=self.word(step.chmod), exclude=self._each(step.exclude),
            )  # fmt: skip
        if isinstance(step, model.Add):
            return step._replace(
                sources=self._each(step.sources), documents=self._documents(step.documents),
                destination=self.word(step.destination), chown=self.word(step.chown), chmod=self.word(step.chmod),
                exclude=self._each(step.exclude), checksum=self.word(step.checksum),
            )  # fmt: skip
        if isinstance(step, (model.Env, model.Label)):
            return step._replace(pairs=tuple((self.word(name), self.word(value)) for name, value in step.pairs))
        if isinstance(step, model.Arg):
            pairs = ((self.word(name), None if value is None else self.word(value)) for name, value in step.pairs)
            return step._replace(pairs=tuple(pairs))
        if isinstance(step, model.Run):
            return step._replace(mounts=self._each(step.mounts), network=self.word(step.network))
        if isinstance(step, model.Expose):
            return step._replace(ports=tuple(
                port for text in step.ports for port in expand.words(text, self._variables, self._escape)))  # fmt: skip
        if isinstance(step, model.Volume):
            return step._replace(paths=self._each(step.paths))
        if isinstance(step, model.Workdir):
            return step._replace(path=self.word(step.path))
        if isinstance(step, model.User):
            return step._replace(user=self.word(step.user))
        if isinstance(step, model.StopSignal):
            return step._replace(signal=self.word(step.signal))
        return step

    def _each(self, texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(self.word(text) for text in texts)

    def _documents(self, documents: Iterable[Heredoc]) -> tuple[Heredoc, ...]:
        return tuple(
            document._replace(content=expand.document(document.content, self._variables)) if document.expand
            else document for document in documents
        )  # fmt: skip
