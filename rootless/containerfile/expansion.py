"""Instructions with their variables put in, each where Docker's reference says that it has some."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rootless.containerfile import expand, model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootless.containerfile.model import Instruction
    from rootless.containerfile.origin import Origin

    _Sources = TypeVar("_Sources", model.Add, model.Copy)


class Expander:
    """Puts ``variables`` into instructions of a file whose escape character is ``escape``."""

    def __init__(self, variables: Mapping[str, str], escape: str) -> None:
        self._variables = variables
        self._escape = escape

    def word(self, text: str) -> str:
        """A text. Raises ExpansionError."""
        return expand.word(text, self._variables, self._escape)

    def instruction(self, step: Instruction) -> Instruction:
        """The instruction as it is executed. Raises ContainerfileError for a text that has no meaning.

        CMD, ENTRYPOINT, HEALTHCHECK, MAINTAINER, ONBUILD and SHELL stay as they are, and so does the command of RUN.
        The pairs of ENV, LABEL and ARG all see the variables from before the instruction.
        """
        origin = step.origin
        match step:
            case model.Add():
                return self._sources(step)._replace(checksum=self._text(step.checksum, origin))
            case model.Copy():
                return self._sources(step)._replace(from_=self._text(step.from_, origin))
            case model.Env() | model.Label():
                pairs = tuple((self._text(name, origin), self._text(value, origin)) for name, value in step.pairs)
                if not all(name for name, _ in pairs):
                    raise origin.error("a name is empty")
                return step._replace(pairs=pairs)
            case model.Arg():
                return step._replace(pairs=tuple(
                    (self._text(name, origin), None if value is None else self._text(value, origin))
                    for name, value in step.pairs))  # fmt: skip
            case model.Expose():
                return step._replace(ports=self._words(step.ports, origin))
            case model.Run():
                return step._replace(
                    mounts=self._texts(step.mounts, origin), network=self._text(step.network, origin))
            case model.StopSignal():
                return step._replace(signal=self._text(step.signal, origin))
            case model.User():
                return step._replace(user=self._text(step.user, origin))
            case model.Volume():
                return step._replace(paths=self._texts(step.paths, origin))
            case model.Workdir():
                return step._replace(path=self._text(step.path, origin))
        return step

    def _sources(self, step: _Sources) -> _Sources:
        origin = step.origin
        return step._replace(
            sources=self._texts(step.sources, origin),
            documents=tuple(self._document(document, origin) for document in step.documents),
            destination=self._text(step.destination, origin), chown=self._text(step.chown, origin),
            chmod=self._text(step.chmod, origin), exclude=self._texts(step.exclude, origin))  # fmt: skip

    def _document(self, document: model.Heredoc, origin: Origin) -> model.Heredoc:
        """The document with the file's data for its content."""
        data = document.data
        if document.expand:
            try:
                data = expand.document(data, self._variables)
            except expand.ExpansionError as error:
                raise origin.error(f"in the heredoc {document.name[:40]!r}: {error}", near="<<") from None
        return model.Heredoc(document.name, data, expand=False, chomp=False)

    def _text(self, text: str, origin: Origin) -> str:
        try:
            return self.word(text)
        except expand.ExpansionError as error:
            raise origin.error(str(error), near=text) from None

    def _texts(self, texts: Iterable[str], origin: Origin) -> tuple[str, ...]:
        return tuple(self._text(text, origin) for text in texts)

    def _words(self, texts: Iterable[str], origin: Origin) -> tuple[str, ...]:
        found: list[str] = []
        for text in texts:
            try:
                found += expand.words(text, self._variables, self._escape)
            except expand.ExpansionError as error:
                raise origin.error(str(error), near=text) from None
        return tuple(found)
