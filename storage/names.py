"""Names of containers and volumes: what is one, and one for those who give none."""

from __future__ import annotations

import os

MAX_LENGTH = 255
_FIRST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_LATER = _FIRST + "_.-"

_ADJECTIVES = (
    "able agile amber ample astute avid awake bold brave breezy bright brisk calm candid careful cheerful chipper "
    "civil clear clever composed cordial cosy curious daring deft devoted diligent eager earnest easy elated fair "
    "fancy fearless fine fond frank free fresh gentle genuine glad golden graceful grand happy hardy hearty "
    "honest humble jolly jovial keen kind lively logical loyal lucid lucky mellow merry mild modest neat nimble "
    "noble patient placid plucky polite proud prudent quick quiet ready robust serene sincere smart snug sober "
    "spry stable steady sturdy subtle sunny swift tender thrifty tidy tranquil true trusty upbeat vivid warm wise "
    "witty zealous zesty"
)
_SURNAMES = (
    "abel agnesi ampere babbage banach bernoulli bohr boole bose brahe cantor carson celsius cerf chebyshev "
    "chomsky church copernicus coulomb curie darwin davy dedekind descartes dirac doppler erdos euclid euler "
    "faraday fermat fermi feynman fibonacci fourier franklin frege galileo galois gauss germain godel goodall "
    "hamilton hamming hawking heisenberg herschel hertz hilbert hooke hopper hubble huygens hypatia jacobi joule "
    "kelvin kepler khayyam knuth kovalevskaya lagrange laplace leibniz liskov lovelace markov maxwell meitner "
    "mendel mendeleev mirzakhani mobius napier nash neumann newton nobel noether ohm pascal pasteur pauli payne "
    "peano planck poincare ptolemy ramanujan ramsey riemann rontgen rubin russell rutherford sagan shannon tarski "
    "tesla thales turing volta wallis weierstrass wiles wu yalow zeno zuse"
)


def is_name(text: str) -> bool:
    """Is ``text`` a name: a letter or digit, then letters, digits, ``_``, ``.`` and ``-``, 255 at most, all ASCII?"""
    return 0 < len(text) <= MAX_LENGTH and text[0] in _FIRST and not text.strip(_LATER)


def random_name(*, unique: bool = False) -> str:
    """Return ``adjective_surname``; with ``unique`` a number that nobody else will have drawn is added."""
    drawn = int.from_bytes(os.urandom(16), "little")
    words = []
    for list_of_words in (_ADJECTIVES, _SURNAMES):
        choice = list_of_words.split()
        drawn, place = divmod(drawn, len(choice))
        words.append(choice[place])
    return "_".join(words) + (str(drawn % 1_000_000) if unique else "")
