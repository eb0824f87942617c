"""Variables put into an instruction when it is executed: into which of its texts, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rootless.build.containerfile import expand, model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootless.build.containerfile.origin import Origin

_Sources = TypeVar("_Sources", model.Add, model.Copy)


class Evaluation:
    """The variables that hold where an instruction stands, and the file's escape character."""

    __slots__ = ("_escape", "_variables")

    def __init__(self, variables: Mapping[str, str], escape: str = "\\") -> None:
        self._variables = variables
        self._escape = escape

    def text(self, text: str, origin: Origin) -> str:
        """One text of what stands at ``origin``. Raises ContainerfileError."""
        if self._escape not in text and "$" not in text and "'" not in text and '"' not in text:
            return text
        try:
            return expand.word(text, self._variables, self._escape)
        except expand.ExpansionError as error:
            raise origin.error(str(error), near=text) from None

    def instruction(self, instruction: model.Instruction) -> model.Instruction:
        """The instruction with variables put in. Raises ContainerfileError.

        CMD, ENTRYPOINT, HEALTHCHECK, MAINTAINER, ONBUILD and SHELL stay as they are, and so does the command of RUN.
        The pairs of ENV, LABEL and ARG all see the variables from before the instruction.
        """
        origin = instruction.origin
        match instruction:
            case model.Add():
                return self._sources(instruction)._replace(checksum=self.text(instruction.checksum, origin))
            case model.Copy():
                return self._sources(instruction)._replace(from_=self.text(instruction.from_, origin))
            case model.Env() | model.Label():
                pairs = tuple((self.text(name, origin), self.text(value, origin)) for name, value in instruction.pairs)
                if not all(name for name, _ in pairs):
                    raise origin.error("a name is empty")
                return instruction._replace(pairs=pairs)
            case model.Arg():
                return instruction._replace(pairs=tuple(
                    (self.text(name, origin), value if value is None else self.text(value, origin))
                    for name, value in instruction.pairs))  # fmt: skip
            case model.Expose():
                return instruction._replace(ports=self._words(instruction.ports, origin))
            case model.Run():
                return instruction._replace(
                    mounts=self._texts(instruction.mounts, origin), network=self.text(instruction.network, origin))
            case model.StopSignal():
                return instruction._replace(signal=self.text(instruction.signal, origin))
            case model.User():
                return instruction._replace(user=self.text(instruction.user, origin))
            case model.Volume():
                return instruction._replace(paths=self._texts(instruction.paths, origin))
            case model.Workdir():
                return instruction._replace(path=self.text(instruction.path, origin))
        return instruction

    def _sources(self, instruction: _Sources) -> _Sources:
        origin = instruction.origin
        return instruction._replace(
            sources=self._texts(instruction.sources, origin),
            documents=tuple(self._document(document, origin) for document in instruction.documents),
            destination=self.text(instruction.destination, origin),
            chown=self.text(instruction.chown, origin),
            chmod=self.text(instruction.chmod, origin),
            exclude=self._texts(instruction.exclude, origin))  # fmt: skip

    def _document(self, document: model.Heredoc, origin: Origin) -> model.Heredoc:
        """The document as the file's data, which is written as it is."""
        data = document.data
        if document.expand:
            try:
                data = expand.document(data, self._variables)
            except expand.ExpansionError as error:
                raise origin.error(f"in the heredoc {document.name[:40]!r}: {error}", near="<<") from None
        return model.Heredoc(document.name, data, expand=False, chomp=False)

    def _texts(self, texts: Iterable[str], origin: Origin) -> tuple[str, ...]:
        return tuple(self.text(text, origin) for text in texts)

    def _words(self, texts: Iterable[str], origin: Origin) -> tuple[str, ...]:
        found: list[str] = []
        for text in texts:
            try:
                found += expand.words(text, self._variables, self._escape)
            except expand.ExpansionError as error:
                raise origin.error(str(error), near=text) from None
        return tuple(found)
