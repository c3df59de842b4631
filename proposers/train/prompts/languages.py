"""Prompts in and about other languages than English."""

from __future__ import annotations

import random

from . import topics as t

# fmt: off
QUESTIONS = {
    "Spanish": ["Explica {x} en pocas frases.", "Escribe un correo breve a {n} sobre {x}.", "¿Qué debo saber sobre {x}?", "Haz una lista de {k} consejos sobre {x}.", "Cuéntame una historia corta sobre {n} y {x}."],
    "French": ["Explique {x} en quelques phrases.", "Écris un court message à {n} au sujet de {x}.", "Que faut-il savoir sur {x} ?", "Donne {k} conseils sur {x}.", "Raconte une petite histoire avec {n} et {x}."],
    "German": ["Erkläre {x} in wenigen Sätzen.", "Schreib {n} eine kurze Nachricht über {x}.", "Was sollte ich über {x} wissen?", "Nenne {k} Tipps zu {x}.", "Erzähle eine kurze Geschichte über {n} und {x}."],
    "Italian": ["Spiega {x} in poche frasi.", "Scrivi un breve messaggio a {n} su {x}.", "Che cosa devo sapere su {x}?", "Dammi {k} consigli su {x}.", "Racconta una breve storia su {n} e {x}."],
    "Portuguese": ["Explique {x} em poucas frases.", "Escreva uma mensagem curta para {n} sobre {x}.", "O que devo saber sobre {x}?", "Dê {k} dicas sobre {x}.", "Conte uma história curta sobre {n} e {x}."],
}
WORDS = {
    "Spanish": "el clima|la cocina|el ajedrez|los volcanes|una mudanza|el agua|la música|un perro|el tren|la memoria|los bosques|el pan".split("|"),
    "French": "le climat|la cuisine|les échecs|les volcans|un déménagement|l'eau|la musique|un chien|le train|la mémoire|les forêts|le pain".split("|"),
    "German": "das Klima|das Kochen|Schach|Vulkane|einen Umzug|Wasser|Musik|einen Hund|die Eisenbahn|das Gedächtnis|Wälder|Brot".split("|"),
    "Italian": "il clima|la cucina|gli scacchi|i vulcani|un trasloco|l'acqua|la musica|un cane|il treno|la memoria|i boschi|il pane".split("|"),
    "Portuguese": "o clima|a cozinha|o xadrez|os vulcões|uma mudança|a água|a música|um cachorro|o trem|a memória|as florestas|o pão".split("|"),
}
# fmt: on


def translation(r: random.Random) -> str:
    """Translate a sentence or talk about a language."""
    language, sentence = r.choice(t.LANGUAGES), " ".join(r.sample(t.SENTENCES, r.randint(1, 3)))
    return r.choice(
        [
            "Translate into {l}: {s}",
            "How do you say this in {l}? '{s}'",
            "{s}\n\nTranslate this into {l}.",
            "Translate the following text into {l} and explain the grammar: {s}",
            "Teach me {k} useful phrases in {l}.",
            "Give me {k} {l} words about {x} with their English meaning.",
        ]
    ).format(l=language, s=sentence, k=r.randint(5, 12), x=r.choice(t.ALL_TOPICS))


def multilingual(r: random.Random) -> str:
    """A request in another language than English."""
    language = r.choice(list(QUESTIONS))
    words = " / ".join(r.sample(WORDS[language], r.choice([1, 1, 2])))
    return r.choice(QUESTIONS[language]).format(x=words, n=r.choice(t.NAMES), k=r.randint(3, 7))
