/**
 * A user's jobs, live: those at work, and those that ended within the last seconds. Without a user nothing is
 * watched.
 * @param {string | null | undefined} userId
 * @param {UseOptions} [options]
 * @returns {EnrichmentProgress}
 */
export function useEnrichmentProgress(userId: string | null | undefined, { src, getToken }?: UseOptions): EnrichmentProgress;
/**
 * The element as a component.
 * @param {EnrichmentProgressBarProps} props
 */
export function EnrichmentProgressBar(props: EnrichmentProgressBarProps): import("react").ReactElement<{
    ref: import("react").RefObject<any>;
    class: string | undefined;
    style: import("react").CSSProperties | undefined;
}, string | import("react").JSXElementConstructor<any>>;
import type { UseOptions } from "./react-types.d.ts";
import type { EnrichmentProgress } from "./react-types.d.ts";
import type { EnrichmentProgressBarProps } from "./react-types.d.ts";
